import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from lenskern import __main__ as command_line
from lenskern.simulate import dataset
from lenskern.simulate.dataset import environment, store
from lenskern.simulate.dataset.fill import record_run

zarr = pytest.importorskip("zarr", reason="data sets need zarr: pip install 'lenskern[simulate]'")
pytest.importorskip("yaml", reason="configs need PyYAML: pip install 'lenskern[simulate]'")

HERE = Path(__file__).parent
TOY = """\
seed: 3
batch: 4
chunk: 12
theta:
  width: {uniform: [0.2, 0.5]}
  centre: {uniform: {low: -1, high: 1}}
function: toy_images:blob
"""
N = 500


@pytest.fixture(scope="module", autouse=True)
def toys_can_be_imported():
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "toy.yaml").write_text(TOY)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """A set that was never interrupted."""
    dataset.fill(folder / "toy.yaml", folder / "whole.zarr", N, progress=False)
    return dataset.DataSet(folder / "whole.zarr")


def command(folder, out, *options, devices=1, sigint=signal.SIG_DFL):
    """The command line in a process of its own; what it compiles is kept for the next.

    A process inherits whether SIGINT is ignored, as by everything in the background of a script.
    """
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    arguments = ["-m", "lenskern", "simulate", "toy.yaml", "--out", out, *map(str, options)]
    start = f"import os, signal, sys; signal.signal(signal.SIGINT, {sigint:d}); os.execv(sys.executable, sys.argv[1:])"
    arguments = [sys.executable, "-c", start, sys.executable, *arguments]
    return subprocess.Popen(arguments, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)


def files(data):
    """The content of every file of the arrays."""
    return {
        str(path.relative_to(data.path)): path.read_bytes()
        for path in sorted(data.path.rglob("*"))
        if path.is_file() and path.parent != data.path
    }


def test_a_set_holds_images_parameters_and_statuses(whole):
    assert whole.missing() == [] and len(whole) == N
    assert whole.image.shape == (N, 5, 6) and whole.image.dtype == np.float32
    centre = whole.parameter("centre")
    assert ((centre > -1) & (centre < 1)).all() and len(np.unique(centre)) == N
    expected = np.select([centre > 0.9, centre < -0.9], [2, 1], 0)
    np.testing.assert_array_equal(whole.status[:], expected)
    assert {0, 1, 2} == set(expected)
    np.testing.assert_array_equal(whole.overflow[:], 7 * (centre > 0.9))
    np.testing.assert_array_equal(np.isnan(whole.image[:]).all((1, 2)), centre < -0.9)


def test_a_set_is_read_by_zarr_alone(whole):
    group = zarr.open_group(whole.path, mode="r")
    assert group["theta"].attrs["names"] == ["width", "centre"]
    assert group["image"].metadata.dimension_names == ("image", "y", "x")
    stored = group.attrs["lenskern"]
    assert stored["config"] == TOY and stored["seed"] == 3
    (run,) = stored["runs"]
    assert run["versions"]["jax"] == jax.__version__ and run["device"]["platform"] == jax.default_backend()


def test_an_image_can_be_made_again_from_the_seed(whole):
    recipe = dataset.load(whole.path).recipe()
    key = jax.random.fold_in(jax.random.key(3), 17)
    theta = {name: np.float32(whole.parameter(name)[17]) for name in whole.names}
    image, _ = recipe.image(theta, jax.random.fold_in(key, 1))
    np.testing.assert_allclose(image, whole.image[17], rtol=1e-6)


def test_killed_at_any_moment_and_resumed_the_set_is_the_same(folder, whole):
    rng, out, seen = random.Random(5), folder / "killed.zarr", []
    for _ in range(2):
        process = command(folder, "killed.zarr", "--n", N, "--quiet")
        # Somewhere between the first new chunk and the last.
        wanted = (seen[-1] if seen else 0) + 1 + rng.randrange(8)
        while process.poll() is None and sum(1 for _ in out.glob("image/c/*/0/0")) < wanted:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        data = dataset.DataSet(out)
        seen.append(data.chunks - len(data.missing()))
        assert seen[-1] >= wanted
        # What is there is whole, and what is not reads as absent.
        status = data.status[:]
        for chunk in set(range(data.chunks)) - set(data.missing()):
            rows = slice(*data.bounds(chunk))
            np.testing.assert_array_equal(data.image[rows], whole.image[rows])
            assert (status[rows] >= 0).all()
    assert 0 < seen[0] < seen[1] < data.chunks
    process = command(folder, "killed.zarr", "--n", N, "--quiet")
    assert process.wait() == 0, process.stderr.read()
    assert files(dataset.DataSet(out)) == files(whole)
    assert not list(out.rglob("*.partial"))


def test_terminated_it_ends_its_chunk_and_goes_on_later(folder, whole):
    process = command(folder, "terminated.zarr", "--n", 100_000, "--quiet")
    out = folder / "terminated.zarr"
    while process.poll() is None and not list(out.glob("image/c/*/0/0")):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == "lenskern simulate: stopped; the same command goes on\n"
    assert not list(out.rglob("*.partial"))
    data = dataset.DataSet(out)
    there = min(N // data.chunk, data.missing()[0]) * data.chunk
    np.testing.assert_array_equal(data.image[:there], whole.image[:there])


def test_a_signal_that_is_ignored_does_not_end_it(folder, whole):
    process = command(folder, "ignored.zarr", "--n", N, "--quiet", sigint=signal.SIG_IGN)
    while process.poll() is None and not list((folder / "ignored.zarr").glob("image/c/*/0/0")):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0, process.stderr.read()
    assert files(dataset.DataSet(folder / "ignored.zarr")) == files(whole)


def test_images_that_a_signal_left_out_do_not_count(folder, whole, monkeypatch):
    write = store.DataSet.write

    def write_and_signal(*arguments):
        write(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        monkeypatch.setattr(store.DataSet, "write", write_and_signal)
        done = dataset.fill(folder / "toy.yaml", folder / "interrupted.zarr", N, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    data = dataset.DataSet(folder / "interrupted.zarr")
    assert 0 < done.simulated == data.chunk * (data.chunks - len(data.missing())) < N


def test_eight_devices_give_the_same_images(folder, whole):
    process = command(folder, "eight.zarr", "--n", N, "--quiet", devices=8)
    assert process.wait() == 0, process.stderr.read()
    assert files(dataset.DataSet(folder / "eight.zarr")) == files(whole)


def test_a_set_can_be_made_longer(folder, whole):
    out = folder / "longer.zarr"
    with pytest.MonkeyPatch.context() as patch:
        # Killed between taking the chunk away that is not full, and the rest.
        dataset.fill(folder / "toy.yaml", out, 40, progress=False)
        patch.setattr(store, "write_json", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dataset.fill(folder / "toy.yaml", out, N, progress=False)
    found = dataset.DataSet(out)
    assert len(found) == 40 and found.missing() == [3]
    done = dataset.fill(out, out, N, progress=False)
    assert done.simulated == N - 36 and done.images == N
    assert files(dataset.DataSet(out)) == files(whole)
    with pytest.raises(ValueError, match="n: got 499, expected at least the 500 images"):
        dataset.fill(out, out, N - 1, progress=False)
    assert dataset.fill(out, out, N, progress=False).simulated == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"theta": {"width": {"uniform": [0.2, 0.6]}, "centre": 0}}, "theta.width.uniform.1 is 0.5 there and 0.6 here"),
        ({"dtype": "float64"}, "dtype is 'float32' there and 'float64' here"),
        ({"function": "toy_images:vector"}, "function is 'toy_images:blob' there and 'toy_images:vector' here"),
    ],
)
def test_another_config_is_refused_and_says_what_differs(whole, change, message):
    config = whole.settings | {"seed": 3} | change
    with pytest.raises(ValueError, match=message):
        dataset.fill(config, whole.path, N)


def test_the_same_config_written_otherwise_is_taken(whole):
    assert dataset.fill(whole.settings | {"seed": 3}, whole.path, N, progress=False).simulated == 0
    other = json.loads(json.dumps(whole.settings | {"seed": 9}))
    assert dataset.fill(other, whole.path, N, seed=3, progress=False).simulated == 0


def test_two_processes_cannot_fill_one_set(whole):
    with whole.locked(), pytest.raises(ValueError, match="another process is filling"):
        dataset.fill(whole.path, whole.path, N)


def test_what_is_no_set_is_refused(folder):
    with pytest.raises(ValueError, match="expected a data set of lenskern"):
        dataset.DataSet(folder)
    with pytest.raises(ValueError, match="expected a data set of lenskern"):
        dataset.fill(folder / "toy.yaml", folder, 10)
    with pytest.raises(ValueError, match="out: got .* expected the path of a folder"):
        dataset.fill(folder / "toy.yaml", folder / "toy.yaml", 10)
    with pytest.raises(ValueError, match="n: got 0, expected an integer of at least 1"):
        dataset.fill(folder / "toy.yaml", folder / "new.zarr", 0)
    with pytest.raises(ValueError, match=r"image: got shape \(3,\) from the function"):
        dataset.fill({"theta": {}, "function": "toy_images:vector"}, folder / "new.zarr", 10)
    assert not (folder / "new.zarr").exists()


def test_other_versions_are_a_warning(whole, monkeypatch):
    found = environment.environment()
    data = dataset.DataSet(whole.path)
    monkeypatch.setattr(data, "update", lambda **changes: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record_run(data, found)
    with pytest.warns(UserWarning, match=f"versions.jax {jax.__version__}, now 0.0"):
        record_run(data, found | {"versions": found["versions"] | {"jax": "0.0"}})


def test_damage_is_found(folder, whole):
    out = folder / "damaged.zarr"
    dataset.fill(whole.path, out, 60, progress=False)
    data = dataset.DataSet(out)
    assert dataset.verify(data).passed
    path = out / "image/c/1/0/0"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    (out / "status/c/2").unlink()
    pixels = data.image[36:48]
    pixels[5, 2, 2] += 1e-7 + pixels[5, 2, 2] * 1e-6
    data.write(3, {name: getattr(data, name)[36:48] for name in store.ARRAYS} | {"image": pixels})
    found = dataset.verify(data)
    assert (found.missing, found.damaged, found.different, found.passed) == ((2,), (1,), (41,), False)
    assert "1 images are different: 41" in str(found)
    assert command_line.main(["verify", str(out)]) == 1


def test_the_command_line(folder, whole, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert command_line.main(["simulate", "toy.yaml", "--n", "500", "--out", "whole.zarr"]) == 0
    shown = capsys.readouterr()
    assert "whole.zarr: 500 images, 0 of them simulated now" in shown.out and "500/500" in shown.err
    assert f"{(whole.status[:] == 2).sum()} images are OVERFLOW" in shown.out
    pytest.importorskip("matplotlib", reason="contact sheets need matplotlib: pip install 'lenskern[simulate]'")
    assert command_line.main(["view", "whole.zarr", "--n", "5", "--captions", "width"]) == 0
    assert capsys.readouterr().out == "whole.png\n"
    assert (folder / "whole.png").read_bytes().startswith(b"\x89PNG")
    assert command_line.main(["view", "whole.zarr", "--images", "3", "500"]) == 1
    assert "images: got 500, expected numbers from 0 to 499" in capsys.readouterr().err
    assert command_line.main(["simulate", "nowhere.yaml", "--n", "5", "--out", "x.zarr"]) == 1
    assert capsys.readouterr().err == "lenskern simulate: config: there is no file 'nowhere.yaml'\n"


@pytest.mark.parametrize("package, extra", [("zarr", "simulate"), ("yaml", "simulate"), ("matplotlib", "simulate")])
def test_a_missing_package_is_named_with_its_extra(folder, whole, monkeypatch, package, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"data sets need {package}: pip install 'lenskern\[{extra}\]'"
    with pytest.raises(ModuleNotFoundError, match=message):
        dataset.load(folder / "toy.yaml")
        dataset.sheet(whole.path, folder / "sheet.png")
