"""The Pallas kernel by itself: exact in interpret mode, and code that a GPU's compiler takes."""

import importlib.util
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lenskern._kernels.pallas import deflect as kernel

from lenskern import deflect
from lenskern.deflect import reference
from lenskern.deflect.profiles import Profile

pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")

KINDS = tuple(kernel.COMPONENTS)
CLOSED = tuple(profile for profile in Profile if profile != Profile.TABLE)
MIXED = (Profile.NFW, Profile.TNFW, Profile.DPIE, Profile.POINT, Profile.SIS, Profile.SHEET)
# Those that compile in a moment, for what does not depend on the profile.
QUICK = (Profile.POINT, Profile.SIS)
# Of the largest value: the sums are in another order, and compensated.
TOLERANCE = {"float64": 1e-14, "float32": 2e-6}


def population(profiles, n=9, seed=0, dtype="float64"):
    """Haloes whose profiles take turns."""
    rng = np.random.default_rng(seed)
    codes = np.resize([int(profile) for profile in profiles], n)
    shape = rng.uniform(0.1, 0.9, (n, 2))
    shape[codes == Profile.TNFW, 0] = 10 ** rng.uniform(-0.5, 1.5, (codes == Profile.TNFW).sum())
    return deflect.Halos(
        profile=jnp.asarray(codes, jnp.int32),
        centre=jnp.asarray(rng.uniform(-2, 2, (n, 2)), dtype),
        amplitude=jnp.asarray(rng.uniform(0.5, 2, n), dtype),
        scale=jnp.asarray(10 ** rng.uniform(-1, 0.5, n), dtype),
        shape=jnp.asarray(shape, dtype),
        mask=jnp.asarray(rng.uniform(size=n) > 0.2),
        profiles=tuple(profiles),
    )


def rays(n=200, seed=1, dtype="float64"):
    return jnp.asarray(np.random.default_rng(seed).uniform(-3, 3, (n, 2)), dtype)


def arrays(halos):
    return halos.profile, halos.centre, halos.amplitude, halos.scale, halos.shape, halos.mask


@partial(jax.jit, static_argnames=("profiles", "kind"))
def interpreted(*operands, profiles, kind):
    return kernel.plane(*operands, profiles=profiles, kind=kind, interpret=True)[0]


fields = jax.jit(reference.fields, static_argnames="kind")


def single(halos, grid, kind="deflection"):
    return interpreted(*(a[None] for a in (*arrays(halos), grid)), profiles=halos.profiles, kind=kind)[0]


def close(found, wanted, dtype):
    assert found.dtype == wanted.dtype == dtype
    limit = TOLERANCE[dtype] * np.nanmax(np.abs(wanted), initial=0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)


# The Jacobian is made of the two functions of a profile, the potential is the third.
@pytest.mark.parametrize("kind", ["jacobian", "potential"])
@pytest.mark.parametrize("profile", CLOSED)
def test_agrees_with_the_reference(profile, kind):
    if (profile, kind) == (Profile.TNFWC, "potential"):
        pytest.skip("not there")
    halos, grid = population([profile]), rays()
    close(single(halos, grid, kind), fields(halos, grid, kind), "float64")


@pytest.mark.parametrize("kind", ["deflection", "convergence", "jacobian"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_mixed_populations(kind, dtype):
    halos, grid = population(MIXED, 24, dtype=dtype), rays(300, dtype=dtype)
    close(single(halos, grid, kind), fields(halos, grid, kind), dtype)


@pytest.mark.parametrize("n", [1, 127, 128, 129])
def test_any_number_of_rays(n):
    halos, grid = population(QUICK), rays(n)
    found = single(halos, grid)
    assert found.shape == (n, 2)
    close(found, fields(halos, grid, "deflection"), "float64")


def test_sum_of_many_haloes_in_float32_keeps_its_digits():
    halos, grid = population([Profile.SHEET], 3000), rays(16)
    single_precision = jax.tree.map(lambda a: a.astype("float32") if a.dtype == jnp.float64 else a, halos)
    wanted = fields(halos, grid, "convergence")
    found = single(single_precision, grid.astype("float32"), "convergence")
    np.testing.assert_allclose(found, wanted, rtol=2e-7)


@pytest.mark.parametrize("shared", range(7))
def test_shared_operands(shared):
    many = [population(QUICK, 6, seed) for seed in range(3)]
    operands = [jnp.stack(parts) for parts in zip(*(arrays(h) for h in many), strict=True)]
    operands.append(jnp.stack([rays(20, seed) for seed in range(3)]))
    operands[shared] = operands[shared][:1]
    full = [jnp.broadcast_to(a, (3, *a.shape[1:])) for a in operands]
    options = {"profiles": many[0].profiles, "kind": "deflection"}
    np.testing.assert_array_equal(interpreted(*operands, **options), interpreted(*full, **options))
    one = interpreted(*(a[:1] for a in operands), **options)
    assert one.shape == (1, 20, 2)
    np.testing.assert_array_equal(one, interpreted(*(a[:1] for a in full), **options))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_masked_haloes_are_not_read(value):
    halos, grid = population([Profile.NFW, Profile.TNFW]), rays(10)
    clean = single(halos, grid)
    keep = halos.mask
    dirty = deflect.Halos(
        profile=jnp.where(keep, halos.profile, 99),
        centre=jnp.where(keep[:, None], halos.centre, value),
        amplitude=jnp.where(keep, halos.amplitude, value),
        scale=jnp.where(keep, halos.scale, value),
        shape=jnp.where(keep[:, None], halos.shape, value),
        mask=keep,
        profiles=halos.profiles,
    )
    np.testing.assert_array_equal(single(dirty, grid), clean)


def test_faults_stay_where_they_are():
    many = [population([Profile.TNFW, Profile.NFW], 5, seed) for seed in range(6)]
    operands = [np.array(jnp.stack(parts)) for parts in zip(*(arrays(h) for h in many), strict=True)]
    operands[-1][:] = True
    grid = np.array(rays(7))
    clean = interpreted(*operands, grid[None], profiles=many[0].profiles, kind="convergence")
    grid[2, 0], grid[3, 1] = np.nan, np.inf
    profile, centre, amplitude, scale, shape, _ = operands
    profile[1, 2], centre[2, 0, 1], amplitude[3, 1], scale[4, 4], shape[5, 0, 0] = 5, np.inf, np.nan, 0, -1
    found = np.asarray(interpreted(*operands, grid[None], profiles=many[0].profiles, kind="convergence"))
    assert np.isnan(found[1:]).all()
    assert np.isnan(found[0, 2:4]).all()
    np.testing.assert_array_equal(np.delete(found[0], (2, 3), 0), np.delete(clean[0], (2, 3), 0))


def test_at_a_centre():
    halos = population([Profile.NFW, Profile.TNFW, Profile.SIS], 6)
    for kind in ("deflection", "jacobian"):
        close(single(halos, halos.centre, kind), fields(halos, halos.centre, kind), "float64")


@pytest.mark.parametrize(("lanes", "halos", "n"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing(lanes, halos, n):
    shapes = (lanes, halos), (1, halos, 2), (1, halos), (1, halos), (1, halos, 2), (1, halos), (1, n, 2)
    types = ("int32", "float64", "float64", "float64", "float64", "bool", "float64")
    operands = [jnp.zeros(shape, dtype) for shape, dtype in zip(shapes, types, strict=True)]
    found = interpreted(*operands, profiles=(Profile.NFW,), kind="jacobian")
    np.testing.assert_array_equal(found, np.zeros((lanes, n, 3)))


def test_what_it_lacks_names_another_backend():
    halos, grid = population([Profile.TNFWC]), rays(3)
    operands = [a[None] for a in (*arrays(halos), grid)]
    with pytest.raises(NotImplementedError, match="tables.*reference"):
        kernel.plane(*operands, profiles=(Profile.NFW, Profile.TABLE))
    with pytest.raises(NotImplementedError, match="TNFWC.*reference"):
        kernel.plane(*operands, profiles=(Profile.TNFWC,), kind="potential")
    large = [jax.ShapeDtypeStruct((2**20, *a.shape[1:]), a.dtype) for a in operands]
    large[-1] = jax.ShapeDtypeStruct((1, 2**11, 2), "float64")
    with pytest.raises(NotImplementedError, match="several calls"):
        jax.eval_shape(partial(kernel.plane, profiles=(Profile.TNFWC,)), *large)


def test_import_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    spec = importlib.util.spec_from_file_location("without_triton", kernel.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    operands = [a[None] for a in (*arrays(population([Profile.NFW])), rays(3))]
    with pytest.raises(RuntimeError, match="no Pallas-Triton"):
        module.plane(*operands, profiles=(Profile.NFW,))


def lowered(dtype, profiles, kind, sharding=None):
    """For 1000 lanes of haloes, of which the masks and the rays are shared."""
    shapes = (1000, 77), (1000, 77, 2), (1000, 77), (1000, 77), (1000, 77, 2), (1, 77), (1, 500, 2)
    types = ("int32", dtype, dtype, dtype, dtype, "bool", dtype)
    operands = [
        jax.ShapeDtypeStruct(shape, type_, sharding=sharding) for shape, type_ in zip(shapes, types, strict=True)
    ]
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        traced = jax.jit(partial(kernel.plane, profiles=profiles, kind=kind)).trace(*operands)
        return traced.lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profiles", [*((profile,) for profile in CLOSED), CLOSED], ids=lambda p: "-".join(map(str, p)))
def test_lowers_for_cuda(dtype, kind, profiles):
    if kind == "potential" and Profile.TNFWC in profiles:
        pytest.skip("not there")
    text = lowered(dtype, profiles, kind).as_text()
    assert text.count("stablehlo.custom_call") == 1
    assert "triton" in text
    assert "tensor<1000x500x2x" not in text or kind == "deflection", "the shared rays are copied"
    assert "77x500x" not in text and "500x77x" not in text


def test_lowers_for_cuda_without_64_bit_types():
    with jax.enable_x64(False):
        assert "triton" in lowered("float32", (Profile.NFW, Profile.TNFW), "deflection").as_text()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["deflection", "jacobian"])
@pytest.mark.parametrize("profiles", [(Profile.TNFW,), (Profile.NFW, Profile.TNFW, Profile.CNFW)])
def test_compiles_for_h200(h200, dtype, kind, profiles):
    memory = lowered(dtype, profiles, kind, h200).compile().memory_analysis()
    # the amplitudes with their faults, and the masks
    assert memory.temp_size_in_bytes < 1000 * 77 * 8 + 2**14


@pytest.mark.parametrize("kind", ["deflection", "jacobian"])
def test_runs_on_a_gpu(kind):
    if jax.default_backend() != "gpu":
        pytest.skip("no GPU here")
    halos, grid = population(CLOSED, 24), rays(3000)
    operands = [a[None] for a in (*arrays(halos), grid)]
    found = jax.jit(partial(kernel.plane, profiles=halos.profiles, kind=kind))(*operands)[0][0]
    close(found, fields(halos, grid, kind), "float64")
