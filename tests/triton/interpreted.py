"""The Triton kernels in Triton's interpreter; test_triton.py runs this in a process with TRITON_INTERPRET=1."""

import importlib.util
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import triton.language.extra
from lenskern._kernels.triton import convolve as convolution
from lenskern._kernels.triton import deflect as kernel
from lenskern._kernels.triton import launch

from lenskern import deflect
from lenskern.convolve import reference as convolve_reference
from lenskern.deflect import reference
from lenskern.deflect.profiles import Profile

jax.config.update("jax_enable_x64", True)
assert os.environ["TRITON_INTERPRET"] == "1"
spec = importlib.util.spec_from_file_location("interpreter", Path(__file__).with_name("interpreter.py"))
interpreter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(interpreter)

# Those whose quadratures do not take the interpreter seconds.
QUICK = (Profile.NFW, Profile.TNFW, Profile.DPIE, Profile.POINT, Profile.SIS, Profile.SHEET)
# Of the largest value: the sums are in another order, and compensated.
TOLERANCE = {"float64": 1e-14, "float32": 2e-6}


@pytest.fixture(scope="module", autouse=True)
def interpretation():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "MISSING", None)
        patch.setattr(launch, "call", interpreter.call)
        patch.setattr(triton.language.extra, "libdevice", interpreter.Libdevice())
        yield


def population(profiles, n, seed=0, dtype="float64"):
    """Haloes whose profiles take turns, the first of them masked and nonsense."""
    rng = np.random.default_rng(seed)
    codes = np.resize([int(profile) for profile in profiles], n)
    shape = rng.uniform(0.1, 0.9, (n, 2))
    shape[codes == Profile.TNFW, 0] = 10 ** rng.uniform(-0.5, 1.5, (codes == Profile.TNFW).sum())
    amplitude = rng.uniform(0.5, 2, n)
    amplitude[0], codes[0] = np.inf, 99
    return deflect.Halos(
        profile=jnp.asarray(codes, jnp.int32),
        centre=jnp.asarray(rng.uniform(-2, 2, (n, 2)), dtype),
        amplitude=jnp.asarray(amplitude, dtype),
        scale=jnp.asarray(10 ** rng.uniform(-1, 0.5, n), dtype),
        shape=jnp.asarray(shape, dtype),
        mask=jnp.arange(n) > 0,
        profiles=tuple(profiles),
    )


def arrays(halos):
    return halos.profile, halos.centre, halos.amplitude, halos.scale, halos.shape, halos.mask


def rays(n, seed=1, dtype="float64"):
    return jnp.asarray(np.random.default_rng(seed).uniform(-3, 3, (n, 2)), dtype)


def single(halos, grid, kind):
    return kernel.plane(*(a[None] for a in (*arrays(halos), grid)), profiles=halos.profiles, kind=kind)[0][0]


def close(found, wanted, dtype="float64"):
    assert found.dtype == wanted.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * np.nanmax(np.abs(wanted)))


fields = jax.jit(reference.fields, static_argnames="kind")


# The Jacobian is made of the two functions of a profile, the potential is the third; more rays than a tile has.
@pytest.mark.parametrize("kind", ["jacobian", "potential"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_mixed_populations(kind, dtype):
    halos, grid = population(QUICK, 13, dtype=dtype), rays(kernel.TILE + 3, dtype=dtype)
    close(single(halos, grid, kind), fields(halos, grid, kind), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_quadratures(dtype):
    halos, grid = population([Profile.CNFW], 3, dtype=dtype), rays(9, dtype=dtype)
    close(single(halos, grid, "jacobian"), fields(halos, grid, "jacobian"), dtype)


def test_the_largest_profile():
    halos, grid = population([Profile.TNFWC], 2), rays(9)
    close(single(halos, grid, "deflection"), fields(halos, grid, "deflection"))


def test_sum_of_many_haloes_in_float32_keeps_its_digits():
    halos, grid = population([Profile.SHEET], 1000), rays(4)
    one = jax.tree.map(lambda a: a.astype("float32") if a.dtype == jnp.float64 else a, halos)
    found = single(one, grid.astype("float32"), "convergence")
    np.testing.assert_allclose(found, fields(halos, grid, "convergence"), rtol=2e-7)


@pytest.mark.parametrize("shared", [*range(7), None])
def test_shared_operands(shared):
    many = [population([Profile.TNFW, Profile.SIS], 3, seed) for seed in range(2)]
    operands = [jnp.stack(parts) for parts in zip(*(arrays(h) for h in many), strict=True)]
    operands.append(jnp.stack([rays(5, seed) for seed in range(2)]))
    if shared is None:
        operands = [a[:1] for a in operands]
    else:
        operands[shared] = operands[shared][:1]
    lanes = max(a.shape[0] for a in operands)
    (found,) = kernel.plane(*operands, profiles=many[0].profiles)
    full = [jnp.broadcast_to(a, (lanes, *a.shape[1:])) for a in operands]
    for lane in range(lanes):
        (alone,) = kernel.plane(*(a[lane : lane + 1] for a in full), profiles=many[0].profiles)
        np.testing.assert_array_equal(found[lane], alone[0])


def test_faults_stay_where_they_are():
    many = [population([Profile.TNFW, Profile.NFW], 3, seed) for seed in range(3)]
    operands = [np.array(jnp.stack(parts)) for parts in zip(*(arrays(h) for h in many), strict=True)]
    grid = np.array(rays(4))
    grid[2, 0], grid[3, 1] = np.nan, np.inf
    operands[2][1, 1], operands[3][2, 2] = np.nan, 0
    (found,) = kernel.plane(*operands, grid[None], profiles=many[0].profiles, kind="convergence")
    np.testing.assert_array_equal(np.isnan(found[..., 0]), [[False, False, True, True], [True] * 4, [True] * 4])


@pytest.mark.parametrize(
    ("shape", "size", "dtype", "lanes", "transposed"),
    [
        ((20, 33), (5, 4), "float64", (2, 2), True),
        ((7, 9), (13, 2), "float32", (1, 2), False),
        ((40, 17), (5, 7), "float64", (2, 1), False),
    ],
)
def test_convolution(shape, size, dtype, lanes, transposed):
    rng = np.random.default_rng(0)
    images, kernels = (
        jnp.asarray(rng.normal(size=(n, *of)), dtype) for n, of in zip(lanes, (shape, size), strict=True)
    )
    transform = convolve_reference.transform(kernels, convolve_reference.fft_shape(shape, size))
    (found,) = convolution.convolve(images, transform, transposed=transposed)
    assert found.shape == (2, *shape)
    close(found, convolve_reference.fft(images, transform, transposed), dtype)
