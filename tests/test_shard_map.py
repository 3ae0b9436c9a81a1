"""Every operation inside of `jax.shard_map`, on two devices: values, gradients, and what differs between devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = {
    "some": ("cpp", ("nnls", "haloes", "lens")),
    "others": (
        "cpp",
        (
            "nnls, relaxed gradient",
            "nnls, 140 unknowns",
            "normal matrix",
            "log determinant",
            "convergence",
            "convolution",
            "mapping matrix",
            "entries of a mapping matrix",
        ),
    ),
    # What is lowered by a traced rule, in place of a call, is so for every operation in the same way.
    "reference": ("reference", ("haloes",)),
}
# With and without a check of what varies between devices; the rules are the same for all operations.
BOTH = ("nnls", "haloes")


def sums(name, backend):
    """Function of what all devices share and of what each has its own, and such operands for two devices."""
    import jax.numpy as jnp
    import numpy as np

    from lenskern import convolve, deflect, nnls

    rng = np.random.default_rng(3)
    rays = rng.uniform(-1, 1, (2, 5, 2))
    if name.startswith("nnls"):
        K = 140 if "140" in name else 4
        A = rng.normal(size=(2 * K, K))
        gradient = "relaxed" if "relaxed" in name else "exact"
        q = rng.normal(size=(2, K))
        weights = rng.normal(size=K)
        return lambda Q, q: weights @ nnls.solve(Q, q, backend=backend, gradient=gradient), A.T @ A, q
    if name == "normal matrix":
        return (
            lambda noise, M: jnp.sin(nnls.normal_matrix(M, noise, backend=backend)),
            rng.uniform(1, 2, 6),
            rng.normal(size=(2, 6, 3)),
        )
    if name == "log determinant":
        return (
            lambda diagonal, M: jnp.sin(nnls.log_determinant(M @ M.T + jnp.diag(diagonal), backend=backend)),
            rng.uniform(1, 2, 4),
            rng.normal(size=(2, 4, 3)),
        )
    if name in ("haloes", "convergence"):
        field = deflect.plane if name == "haloes" else deflect.convergence

        def of_haloes(kappa_s, grid):
            haloes = deflect.tnfw([[0.3, 1.1], [0.2, -0.5]], kappa_s, 0.3, 0.7)
            return jnp.sin(field(haloes, grid, backend=backend))

        return of_haloes, np.array([0.1, 0.2]), rays
    if name == "lens":
        universe = deflect.flat_lambda_cdm(H0=70.0, Om0=0.3)

        def trace(parameters, grid):
            macro = deflect.PowerLaw(ell_comps=parameters[:2], einstein_radius=parameters[2], slope=2.1)
            halos = deflect.nfw([[0.3, 1.1]], parameters[3:], 0.3)
            lens = deflect.planes([0.3], 1.5, universe, halos=[halos], macros=[(0, macro)])
            return jnp.sin(deflect.trace(lens, grid, backend=backend))

        return trace, np.array([0.1, 0.05, 1.2, 0.1]), rays
    kernel = rng.uniform(size=(3, 3))
    if name == "convolution":
        return (
            lambda kernel, image: jnp.sin(convolve.convolve(image, kernel, method="direct", backend=backend)),
            kernel,
            rng.normal(size=(2, 6, 7)),
        )
    mask = np.zeros((4, 5), bool)
    if name == "entries of a mapping matrix":
        rows, columns = rng.integers(20, size=30), rng.integers(3, size=30)

        def blur(kernel, values):
            return jnp.sin(convolve.masked(kernel, mask, backend=backend).mapping_matrix_of(values, rows, columns, 3))

        return blur, kernel, rng.normal(size=(2, 30))
    return (
        lambda kernel, M: jnp.sin(convolve.masked(kernel, mask, backend=backend).mapping_matrix(M)),
        kernel,
        rng.normal(size=(2, 20, 3)) * (rng.uniform(size=(2, 20, 3)) < 0.4),
    )


def compare(name, backend):
    """Largest relative differences from a sum over lanes, and what comes of a result that is said to be the same."""
    import jax
    import numpy as np

    function, shared, own = sums(name, backend)
    P = jax.sharding.PartitionSpec
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))

    def one(shared, own):
        return jax.lax.psum(function(shared, own[0]).sum(), "i")

    def lanes(shared, own):
        return jax.vmap(function, (None, 0))(shared, own).sum()

    differences = {}
    expected = jax.tree.leaves(jax.value_and_grad(lanes, argnums=(0, 1))(shared, own))
    for check in (True, False) if name in BOTH else (True,):
        sharded = jax.shard_map(one, mesh=mesh, in_specs=(P(), P("i")), out_specs=P(), check_vma=check)
        run = sharded if check else jax.jit(sharded)
        found = jax.tree.leaves(jax.value_and_grad(run, argnums=(0, 1))(shared, own))
        differences[f"check_vma={check}"] = max(
            float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, expected, strict=True)
        )
    different = jax.shard_map(lambda a, b: function(a, b[0]), mesh=mesh, in_specs=(P(), P("i")), out_specs=P())
    try:
        jax.jit(different)(shared, own)
        refused = False
    except ValueError as error:
        refused = "out_specs" in str(error)
    return {"differences": differences, "refused": refused}


@pytest.fixture(scope="module", params=RUNS)
def found(request, available):
    """What a process with two devices has found, by case."""
    available(RUNS[request.param][0])
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    command = [sys.executable, str(Path(__file__)), request.param]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags.strip()}, capture_output=True, text=True)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def test_agrees_with_lanes(found):
    for case, differences in found.items():
        assert max(differences["differences"].values()) < 1e-10, (case, differences)


def test_a_result_of_one_device_is_not_taken_for_that_of_all(found):
    assert all(case["refused"] for case in found.values()), found


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    backend, cases = RUNS[sys.argv[1]]
    print(json.dumps({case: compare(case, backend) for case in cases}))
