"""The probe cuts a likelihood in steps that add up to it, and sees what is in its programs."""

import os
import subprocess
import sys
import types
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import nnls
from lenskern.__main__ import main
from lenskern.bench.report import read, update
from lenskern.interop import probe
from lenskern.interop.probe import programs
from lenskern.interop.probe.api import FLAG

K = 12
SYSTEM = np.random.default_rng(0).standard_normal((K, K)) / 4


def solver(
    data_vector, curvature_reg_matrix, settings=None, xp=np, fingerprint=None, factor=None, solver="pdip", stats=None,
    preconditioning="jacobi",
):  # fmt: skip
    # Projected gradients, in a metric that takes a Cholesky factor.
    L = jnp.linalg.cholesky(curvature_reg_matrix)
    step = 1 / jnp.trace(L @ L.T)

    def go_on(carry):
        return (carry[1] < 500) & (carry[2] > 1e-12)

    def improve(carry):
        x, iterations, _ = carry
        new = jnp.maximum(x + step * (data_vector - curvature_reg_matrix @ x), 0)
        return new, iterations + 1, jnp.abs(new - x).max()

    x, iterations, _ = jax.lax.while_loop(go_on, improve, (jnp.zeros_like(data_vector), 0, 1.0))
    if stats is not None:
        stats |= {"solver": solver, "iterations": iterations}
    return x


@pytest.fixture
def inversion(monkeypatch):
    """A package that stands for autoarray, with one function."""
    utility = types.ModuleType("inversion_util")
    utility.reconstruction_positive_only_from = solver
    for name in ("autoarray", "autoarray.inversion", "autoarray.inversion.inversion"):
        package = types.ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    sys.modules["autoarray.inversion.inversion"].inversion_util = utility
    return utility


class Model:
    prior_count = 2

    @property
    def physical_values_from_prior_medians(self):
        return self.vector_from_unit_vector([0.5, 0.5])

    def vector_from_unit_vector(self, unit):
        return [1 + unit[0], 2 * unit[1] - 0.7]

    def instance_from_vector(self, vector, ignore_assertions, xp):
        return vector


class Analysis:
    """A likelihood with a callback and a solution deep inside of calls."""

    _use_jax = True

    def __init__(self, inversion):
        self.inversion = inversion

    def log_likelihood_function(self, instance):
        @jax.custom_jvp
        def order(x):
            shape = jax.ShapeDtypeStruct((K,), jnp.int32)
            return jax.pure_callback(lambda x: np.argsort(x).astype(np.int32), shape, x, vmap_method="sequential")

        order.defjvp(lambda primals, tangents: (order(*primals), np.zeros(K, jax.dtypes.float0)))

        @jax.jit
        def inner(p):
            mapping = SYSTEM * jnp.cos(p[0] * jnp.arange(K)) + jnp.eye(K)
            mapping = mapping[order(jnp.sin(p[0] + 3 * jnp.arange(K)))]
            Q, q = mapping.T @ mapping, mapping.T @ jnp.sin(p[1] * jnp.arange(K))
            x = self.inversion.reconstruction_positive_only_from(q, Q, xp=jnp)
            return -jnp.sum((mapping @ x - 1) ** 2) - jnp.linalg.slogdet(Q)[1]

        return inner(instance) + instance[1]


def test_steps_add_up(inversion, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", FLAG)
    analysis, model = Analysis(inversion), Model()
    report = probe.probe(analysis, model)
    assert list(report.single) == ["whole likelihood", "set-up", "nnls", "evidence", "set-up, callbacks frozen"]
    assert report.unknowns == K and report.batch == 3 and report.max_difference < 1e-12
    assert inversion.reconstruction_positive_only_from is solver
    vectors = np.array([model.physical_values_from_prior_medians, [1.2, 0.5]])
    again = probe.probe(analysis, model, vectors, cuda=False)
    expected = [analysis.log_likelihood_function(jnp.asarray(v)) for v in vectors]
    np.testing.assert_allclose(again.log_likelihoods, expected, rtol=1e-12)
    np.testing.assert_allclose(again.log_likelihoods[0], report.log_likelihoods[0], rtol=1e-12)
    assert again.statistics["iterations"].shape == (2,) and again.lockstep >= 1
    for parts in (report.single, report.vmapped):
        found = {name: part.contents for name, part in parts.items()}
        assert found["set-up"].callbacks == found["whole likelihood"].callbacks == 1
        assert (
            found["nnls"].callbacks == found["evidence"].callbacks == found["set-up, callbacks frozen"].callbacks == 0
        )
        assert found["nnls"].loops >= 1 > found["evidence"].loops
        assert not any(contents.backward for contents in found.values())
        assert all(part.memory["temporaries"] >= 0 for part in parts.values())
    cuda = {shape for target, shape in report.vmapped["nnls"].cuda if "potrf" in target}
    assert cuda and all(shape.startswith("f") and shape.partition("[")[2].startswith("3,") for shape in cuda)
    text = probe.text(report)
    assert "callbacks frozen" in text and "iterations of the lanes" in text
    records = probe.records(report, "toy")
    assert len(records) == 10 and records[0]["case"] == "toy"
    assert "toy, solver of autoarray: 12 unknowns, 3 lanes; iterations" in probe.table_of(records)


def test_backward_machinery_is_seen():
    def value(q):
        return nnls.solve(jnp.eye(3) * 2, q, backend="reference").sum()

    q = jnp.ones(3)
    assert programs.backward(jax.jit(value).lower(q)) == ()
    assert programs.backward(jax.jit(jax.grad(value)).lower(q)) == ("_solve_jvp", "transpose(")


def test_what_cannot_be_probed(inversion, monkeypatch):
    analysis, model = Analysis(inversion), Model()
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(RuntimeError, match=f"XLA_FLAGS: expected {FLAG}"):
        probe.probe(analysis, model)
    monkeypatch.setenv("XLA_FLAGS", FLAG)
    with pytest.raises(ValueError, match=r"vectors: got shape \(3,\), expected \(lanes, 2\)"):
        probe.probe(analysis, model, np.zeros(3))
    analysis.log_likelihood_function = lambda instance: instance.sum()
    with pytest.raises(NotImplementedError, match="with 0 positive-only solutions"):
        probe.probe(analysis, model)
    analysis._use_jax = False
    with pytest.raises(ValueError, match="analysis: got Analysis without JAX"):
        probe.probe(analysis, model)


def test_records_of_several_probes_share_a_file(tmp_path):
    path = tmp_path / "probe.json"
    for case, seconds in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        update(path, [{"case": case, "system": "autoarray", "median_s": seconds}])
    assert [(r["case"], r["median_s"]) for r in read(path)] == [("b", 2.0), ("a", 3.0)]


def test_a_target_that_hangs_is_given_up(tmp_path, capfd):
    script = tmp_path / "slow.py"
    script.write_text("import time\n\n\ndef never():\n    time.sleep(1000)\n")
    assert main(["probe", f"{script}:never", "--timeout", "3"]) == 124
    assert "not done after 3 s" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either SCRIPT.py:FUNCTION or --example CASE"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        (["no_such_module:f"], "No module named 'no_such_module'"),
        (["json:f"], "there is no function f in json"),
        (["json"], "got 'json', expected SCRIPT.py:FUNCTION"),
    ],
)
def test_bad_commands(arguments, message, monkeypatch, capsys):
    monkeypatch.setenv("LENSKERN_PROBE_CHILD", "1")
    assert main(["probe", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(find_spec("autolens") is None, reason="autolens is not installed")
def test_a_likelihood_of_autolens(tmp_path):
    """A Delaunay source, whose triangulation is a host callback."""
    call = [sys.executable, "-m", "lenskern", "probe", "--example", "imaging-delaunay", "--timeout", "900"]
    done = subprocess.run(
        [*call, "--json", str(tmp_path / "probe.json")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYAUTO_SKIP_WORKSPACE_VERSION_CHECK": "1"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "set-up, callbacks frozen" in done.stdout
    assert "backward machinery: none" in done.stdout and "pdip_relaxed" not in done.stdout
