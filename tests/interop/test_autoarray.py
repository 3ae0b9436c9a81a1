"""lenskern as the solver of autoarray; most of it is skipped where that is not installed."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.interop import autoarray as backend
from lenskern.interop import autolens_command

STORED = Path(__file__).parents[1] / "data" / "mge_0.npz"
needs_autoarray = pytest.mark.skipif(
    importlib.util.find_spec("autoarray") is None, reason="autoarray is not installed: pip install 'lenskern[autolens]'"
)
needs_startup = pytest.mark.skipif(
    autolens_command._problem(__file__) is not None, reason="lenskern was not installed by pip: no lenskern_startup.pth"
)


@pytest.fixture
def util():
    """The module whose function autoarray solves with, and nothing registered before and after."""
    pytest.importorskip("autoarray", reason="autoarray is not installed: pip install 'lenskern[autolens]'")
    from autoarray.inversion.inversion import inversion_util

    backend.unregister()
    yield inversion_util
    backend.unregister()


@pytest.fixture(scope="module")
def system():
    """A stored inversion of multi-Gaussian light: matrix, vector, exact solution."""
    stored = np.load(STORED)
    K = len(stored["q"])
    Q = np.zeros((K, K))
    Q[np.tril_indices(K)] = stored["Q_lower"]
    return Q + np.tril(Q, -1).T, stored["q"], stored["x"]


def solve(util, Q, q, **options):
    """Solution and what is reported, compiled."""

    def call(Q, q):
        stats = {}
        x = util.reconstruction_positive_only_from(q, Q, xp=jnp, stats=stats, **options)
        return x, {name: value for name, value in stats.items() if not isinstance(value, str)}

    return jax.jit(call)(Q, q)


@pytest.mark.parametrize("preconditioning", ["jacobi", "raw"])
def test_solution_and_report(util, system, preconditioning):
    Q, q, x = system
    with backend.registered():
        found, stats = solve(util, Q, q, preconditioning=preconditioning)
        both = jax.vmap(lambda q: solve(util, Q, q, preconditioning=preconditioning))
        lanes, lane_stats = both(np.stack([q, 0.5 * q]))
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-9 * x.max())
    np.testing.assert_allclose(lanes, [x, 0.5 * x], rtol=0, atol=1e-9 * x.max())
    assert stats["converged"] == 1
    assert 0 < stats["iterations"] < 50
    np.testing.assert_array_equal(lane_stats["converged"], [1, 1])


def test_everything_is_given_back(util):
    from autoarray.util import jax_active_set, jax_nnls

    names = {
        jax_nnls: ("solve_nnls_primal_with_status", "solve_nnls_primal_raw_forward", "solve_nnls_primal"),
        jax_active_set: ("solve_certified_with_fallback",),
    }
    before = [getattr(module, name) for module, group in names.items() for name in group]
    assert not backend.is_registered()
    with backend.registered():
        during = [getattr(module, name) for module, group in names.items() for name in group]
        backend.register()
        with backend.registered():
            pass
        assert backend.is_registered()
    assert not backend.is_registered()
    assert [getattr(module, name) for module, group in names.items() for name in group] == before
    assert not set(during) & set(before)
    assert all(function.__module__ == backend.__name__ for function in during)


def test_settings(util, system):
    from autoarray.settings import Settings

    Q, q, x = system
    with backend.registered():
        _, stats = solve(util, Q, q, settings=Settings(nnls_max_iter=1))
        assert (stats["converged"], stats["iterations"]) == (0, 1)
        # A loose tolerance decides what is converged, and makes no answer worse.
        found, stats = solve(util, Q, q, settings=Settings(nnls_solver_tol=1e-3))
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-9 * x.max())
        assert stats["converged"] == 1


def test_certified_solver(util, system):
    from autoarray.settings import Settings

    Q, q, x = system
    with backend.registered():
        found, stats = solve(util, Q, q, settings=Settings(), solver="certified")
        slope = jax.grad(lambda q: solve(util, Q, q, settings=Settings(), solver="certified")[0].sum())(q)
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-9 * x.max())
    assert bool(stats["certified"])
    assert stats["passes"] >= 1
    free = np.asarray(found) > 0
    exact = np.zeros(len(x))
    exact[free] = np.linalg.solve(Q[np.ix_(free, free)], np.ones(free.sum()))
    np.testing.assert_allclose(slope, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("preconditioning", ["jacobi", "raw"])
def test_gradient_is_autoarrays(util, preconditioning):
    """On a system where jaxnnls converges, at a relaxation that can be seen."""
    from autonerves import conf

    A = np.random.default_rng(3).standard_normal((12, 8))
    Q, q = A.T @ A + np.eye(8), np.random.default_rng(4).standard_normal(8)

    def slopes():
        return jax.grad(lambda Q, q: (solve(util, Q, q, preconditioning=preconditioning)[0] ** 2).sum(), (0, 1))(Q, q)

    inversion = conf.instance["general"]["inversion"]
    before = inversion["nnls_target_kappa"]
    inversion["nnls_target_kappa"] = 1e-3
    try:
        theirs = slopes()
        with warnings.catch_warnings(action="ignore"), backend.registered():
            relaxed = slopes()
        inversion["nnls_target_kappa"] = 1e-11
        with warnings.catch_warnings(action="ignore"), backend.registered():
            nearly_exact = slopes()
    finally:
        inversion["nnls_target_kappa"] = before
    for ours, other in zip(relaxed, theirs, strict=True):
        # Q stands for a symmetric matrix: its entries and those across the diagonal count together.
        ours, other = (0.5 * (a + a.T) if a.ndim == 2 else a for a in (np.asarray(ours), np.asarray(other)))
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-6 * np.abs(other).max())
    assert np.abs(np.asarray(relaxed[1]) - nearly_exact[1]).max() > 1e-5


def test_bad_systems_are_nan_and_not_converged(util):
    with backend.registered():
        found, stats = solve(util, np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2))
    assert np.isnan(found).all()
    assert stats["converged"] == 0


@pytest.mark.parametrize("change", ["signature", "missing", "bound"])
def test_another_autoarray_is_refused(util, monkeypatch, change):
    from autoarray.util import jax_active_set, jax_nnls

    if change == "signature":
        monkeypatch.setattr(jax_nnls, "solve_nnls_primal_with_status", lambda Q, q, kappa=1e-3: None)
    elif change == "missing":
        monkeypatch.delattr(jax_active_set, "solve_certified_with_fallback")
    else:
        monkeypatch.setattr(util, "reconstruction_positive_only_from", lambda data_vector, curvature_reg_matrix: None)
    before = jax_nnls.solve_nnls_primal
    with pytest.raises(RuntimeError, match=rf"Known to work: autoarray {backend.KNOWN_VERSIONS[0]}"):
        backend.register()
    assert not backend.is_registered()
    assert jax_nnls.solve_nnls_primal is before


def test_functions_traced_before_are_told_of(util):
    # A setting that no other test has, so that it is traced here.
    from autoarray.settings import Settings

    solve(util, np.eye(3), np.ones(3), settings=Settings(nnls_max_iter=49))
    with pytest.warns(UserWarning, match="has been used in this process"):
        backend.register()
    backend.unregister()
    with warnings.catch_warnings(action="error"):
        backend.register()


def test_without_autoarray(monkeypatch):
    monkeypatch.setitem(sys.modules, "autoarray", None)
    for name in [name for name in sys.modules if name.startswith("autoarray.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="autoarray"):
        backend.register()


def test_names_of_the_arguments():
    """autoarray calls some by name; the guard compares them where it is installed, this where it is not."""
    assert list(inspect.signature(backend._solve_with_status).parameters)[2:] == [
        "target_kappa",
        "solver_tol",
        "max_iter",
    ]


def run_command(folder, script, *arguments, **environment):
    """Run `lenskern autolens` on a script in a folder of its own; whatever hangs is an error."""
    (folder / "script.py").write_text(textwrap.dedent(script))
    clean = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "LENSKERN_AUTOLENS")}
    return subprocess.run(
        [sys.executable, "-m", "lenskern", "autolens", "script.py", *arguments],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_command_without_a_script(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "lenskern", "autolens", "nothing.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode == 2
    assert "SCRIPT: got 'nothing.py', expected a file" in finished.stderr


@needs_startup
def test_command_without_autoarray(tmp_path):
    """The script is run as python would, and an autoarray that is none is refused while it is imported."""
    (tmp_path / "autoarray.py").write_text("")
    script = """
        import json, os, sys
        here, flags = sys.path[0] == os.getcwd(), os.environ["XLA_FLAGS"]
        print(json.dumps([__name__, sys.argv, here, flags, "jax" in sys.modules]))
        import autoarray
    """
    finished = run_command(tmp_path, script, "--option", "1", XLA_FLAGS="--xla_cpu_enable_fast_math=false")
    name, argv, here, flags, has_jax = json.loads(finished.stdout)
    assert (name, argv, here, has_jax) == ("__main__", ["script.py", "--option", "1"], True, False)
    assert flags == "--xla_cpu_enable_fast_math=false --xla_cpu_multi_thread_eigen=false"
    assert finished.returncode == 1
    assert "is not one that lenskern can be registered with" in finished.stderr


@needs_autoarray
@needs_startup
def test_command_with_workers_and_fourier_transforms(tmp_path):
    """Workers that are spawned have lenskern too; Fourier transforms beside a batch of inversions do not hang."""
    script = """
        import json, multiprocessing, sys
        import autoarray
        import jax
        import jax.numpy as jnp
        from autoarray.inversion.inversion import inversion_util


        def registered(_):
            from lenskern.interop import autoarray as backend

            return backend.is_registered()


        def likelihood(image, scale):
            blurred = [jnp.fft.irfft2(jnp.fft.rfft2(i * image), s=image.shape) for i in range(1, 5)]
            data = jnp.stack([b.ravel()[:40] for b in blurred], 1) + scale * jnp.eye(40, 4)
            x = inversion_util.reconstruction_positive_only_from(data.sum(0), data.T @ data + jnp.eye(4), xp=jnp)
            return x.sum()


        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                worker = pool.map(registered, [0])[0]
            batched = jax.jit(jax.vmap(likelihood, in_axes=(None, 0)))
            image = jnp.linspace(0, 1, 64 * 64).reshape(64, 64)
            totals = [batched(image, jnp.arange(1.0, 4.0)).sum() for _ in range(50)]
            text = batched.lower(image, jnp.arange(1.0, 4.0)).as_text()
            used, total, double = "lenskern" in text, float(totals[-1]), jax.config.jax_enable_x64
            print(json.dumps([sys.argv[1:], registered(0), worker, used, total, double]))
    """
    finished = run_command(tmp_path, script, "a", "b")
    assert finished.returncode == 0, finished.stderr
    arguments, main, worker, used, total, double = json.loads(finished.stdout.splitlines()[-1])
    assert (arguments, main, worker, used, double) == (["a", "b"], True, True, True, True)
    assert np.isfinite(total)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py"]
