import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lenskern import __main__ as command_line
from lenskern.simulate import dataset

distributed = pytest.importorskip("distributed", reason="needs dask: pip install 'lenskern[cluster]'")
pytest.importorskip("zarr", reason="data sets need zarr: pip install 'lenskern[simulate]'")

CONFIG = {
    "seed": 11,
    "batch": 5,
    "chunk": 10,
    "theta": {"width": {"uniform": [0.2, 0.5]}, "centre": {"uniform": [-0.5, 0.5]}},
    "function": "toy_images:blob",
}
N = 395


@pytest.fixture(scope="module", autouse=True)
def toys_can_be_imported():
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    yield
    sys.path.remove(here)


@pytest.fixture(scope="module")
def cluster(toys_can_be_imported, tmp_path_factory):
    # What one worker compiles the next need not.
    kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="ERROR", env=kept
    ) as cluster:
        yield cluster


def test_a_worker_that_is_killed_loses_nothing_and_repeats_nothing(cluster, tmp_path):
    out, written, over = tmp_path / "cluster.zarr", {}, threading.Event()

    def kill_one_half_way():
        with distributed.Client(cluster, set_as_default=False) as client:
            first = next(iter(client.run(os.getpid).values()))
        while len(list(out.glob("image/c/*/0/0"))) < N // 20 and not over.is_set():
            time.sleep(0.002)
        os.kill(first, signal.SIGKILL)
        written.update({path: path.stat().st_mtime_ns for path in out.glob("image/c/*/0/0")})

    killer = threading.Thread(target=kill_one_half_way)
    killer.start()
    try:
        done = dataset.fill(CONFIG, out, N, scheduler=cluster.scheduler_address, progress=False)
    finally:
        over.set()
        killer.join()
    assert done.images == done.simulated == N
    assert N // 20 <= len(written) < N // 10
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    data = dataset.DataSet(out)
    assert data.missing() == [] and len(data.attributes["runs"]) == 1
    dataset.fill(CONFIG, tmp_path / "alone.zarr", N, progress=False)
    alone = dataset.DataSet(tmp_path / "alone.zarr")
    for name in ("image", "theta", "status", "overflow"):
        np.testing.assert_array_equal(getattr(data, name)[:], getattr(alone, name)[:])


def test_what_fails_on_a_worker_fails_here(cluster, tmp_path, capsys, monkeypatch):
    # A set that the workers see, but that they cannot write.
    dataset.fill(CONFIG, tmp_path / "set.zarr", 10, progress=False)
    (tmp_path / "set.zarr/image/c/0/0/0").unlink()
    (tmp_path / "set.zarr/image/c/0/0/0").mkdir()
    (tmp_path / "set.zarr/theta/c/0/0").unlink()
    arguments = ["simulate", str(tmp_path / "set.zarr"), "--n", "10", "--out", str(tmp_path / "set.zarr"), "--quiet"]
    assert command_line.main([*arguments, "--scheduler", cluster.scheduler_address]) == 1
    assert "Is a directory" in capsys.readouterr().err
