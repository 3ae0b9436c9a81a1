"""Programs that call the CUDA kernels, lowered and compiled for a GPU without one; what nvcc makes of the kernels."""

import re

import jax
import jax.numpy as jnp
import pytest

from lenskern import backends, deflect

# Registers of a thread, so that two blocks of 256 share a multiprocessor, and bytes of the tangent beyond them.
MOST_REGISTERS, MOST_SPILLED = 128, 32
LANES, HALOS, RAYS = 50, 300, 16384


@pytest.fixture(autouse=True)
def built():
    status = backends.availability("cuda")
    if not status.available:
        pytest.skip(status.reason)


def population(lanes, dtype="float64", n=HALOS):
    halos = deflect.concatenate(
        [
            deflect.nfw(jnp.zeros((n - 1, 2), dtype), 0.01, 0.2),
            deflect.tnfwc(jnp.ones((1, 2), dtype), 0.1, 0.2, 0.1, 0.4),
        ]
    )
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (*lanes, *x.shape)), halos)


def gradient(halos, grid, **options):
    def total(centre, grid):
        moved = deflect.Halos(
            halos.profile, centre, halos.amplitude, halos.scale, halos.shape, halos.mask, profiles=halos.profiles
        )
        return jnp.sum(deflect.plane(moved, grid, **options) ** 2)

    return jax.grad(total, (0, 1))(halos.centre, grid)


def push(halos, grid, **options):
    def function(amplitude):
        moved = deflect.Halos(
            halos.profile, halos.centre, amplitude, halos.scale, halos.shape, halos.mask, profiles=halos.profiles
        )
        return deflect.plane(moved, grid, **options)

    return jax.jvp(function, (halos.amplitude,), (halos.amplitude,))


FUNCTIONS = {
    "plane": (deflect.plane, ["fields"]),
    "convergence": (deflect.convergence, ["fields"]),
    "potential": (deflect.potential, ["fields"]),
    "jacobian": (deflect.jacobian, ["fields"]),
    "gradient": (gradient, ["fields", "adjoint"]),
    "tangent": (push, ["fields", "tangent"]),
}


def shapes(tree, sharding=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def lowered(name, dtype="float64", sharding=None, **options):
    """For lanes of haloes that share their rays."""
    function, _ = FUNCTIONS[name]
    batched = jax.vmap(lambda halos, grid: function(halos, grid, **options), (0, None))
    operands = shapes((population((LANES,), dtype), jnp.zeros((RAYS, 2), dtype)), sharding)
    return jax.jit(batched).trace(*operands).lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize("tol", [None, 0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_lowers_for_cuda(name, tol):
    text = lowered(name, backend="cuda", tol=tol).as_text()
    targets = re.findall(r"custom_call @lenskern_deflect_(\w+)_cuda", text)
    assert targets == FUNCTIONS[name][1]
    # The shared rays are not copied, nor is their order sorted for each lane.
    for line in text.splitlines():
        if "custom_call @lenskern" in line:
            operands = re.findall(r"tensor<(\w+)>", line.partition(" : (")[2])
            assert operands[7:9] == [f"1x{RAYS}x2xf64", f"1x{RAYS if tol is None else 0}xi32"]
    assert f"{RAYS}x{HALOS}x" not in text and f"{HALOS}x{RAYS}x" not in text


def test_is_the_default_for_cuda_and_refused_elsewhere():
    assert "lenskern_deflect_fields_cuda" in lowered("plane", "float32").as_text()
    operands = shapes((population(()), jnp.zeros((5, 2))))
    with pytest.raises(NotImplementedError, match="NVIDIA GPUs only"):
        jax.jit(lambda h, g: deflect.plane(h, g, backend="cuda")).trace(*operands).lower(lowering_platforms=("cpu",))


def test_planes_lower_for_cuda():
    universe = deflect.flat_lambda_cdm(H0=70.0, Om0=0.3)
    planes = deflect.planes([0.3, 0.5], 1.0, universe, halos=[population((), n=2), population((), n=3)])
    text = jax.jit(deflect.trace).trace(*shapes((planes, jnp.zeros((100, 2))))).lower(lowering_platforms=("cuda",))
    assert "lenskern_deflect_fields_cuda" in text.as_text()


def test_derivatives_of_tables_are_the_references():
    tables = deflect.tables.from_mean_convergence(lambda x: 4 / (1 + x) ** 2)

    def total(values, grid):
        halos = deflect.from_table(jnp.zeros((3, 2)), 0.01, 0.5, deflect.RadialTables(values))
        return jnp.sum(deflect.plane(halos, grid, backend="cuda"))

    traced = jax.jit(jax.grad(total)).trace(*shapes((tables.values, jnp.zeros((100, 2)))))
    assert "_adjoint_cuda" not in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("name", ["plane", "gradient"])
def test_compiles_for_h200(h200, name):
    memory = lowered(name, sharding=h200, backend="cuda").compile().memory_analysis()
    deflections = LANES * RAYS * 2 * 8
    # For a gradient the deflections and what multiplies them, and the scratch of the adjoint.
    assert memory.temp_size_in_bytes < {"plane": 0.1, "gradient": 4.5}[name] * deflections
    assert memory.temp_size_in_bytes < LANES * RAYS * HALOS * 8 / 30


def test_resources(cuda_resources):
    functions = cuda_resources("deflect_float64.cu", "sm_90")
    kernels = {name: found for name, found in functions.items() if found.registers is not None}
    assert len(kernels) == 7  # four fields, the tangent, and two of the adjoint
    for name, found in kernels.items():
        assert found.registers <= MOST_REGISTERS, name
        assert found.spilled <= (MOST_SPILLED if "Tangent" in name else 0), name
