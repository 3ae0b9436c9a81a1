import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import convolve

IMAGE, KERNEL = jnp.ones((5, 6)), jnp.ones((3, 3))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((jnp.ones(5), KERNEL), {}, r"image: got shape \(5,\)"),
        ((jnp.ones((0, 5)), KERNEL), {}, r"image: got shape \(0, 5\)"),
        ((jnp.ones((5, 6), int), KERNEL), {}, "image: got dtype int"),
        ((IMAGE.astype("float32"), KERNEL), {}, "image: got dtype float32, expected the dtype of the kernel, float64"),
        ((IMAGE, jnp.ones(3)), {}, r"kernel: got shape \(3,\)"),
        ((IMAGE, jnp.ones((3, 0))), {}, r"kernel: got shape \(3, 0\)"),
        ((IMAGE, jnp.ones((3, 3), "complex128")), {}, "kernel: got dtype complex128"),
        ((IMAGE, convolve.Separable(jnp.ones((1, 3)), jnp.ones((2, 3)))), {}, "kernel: got factors"),
        ((IMAGE, KERNEL), {"method": "magic"}, "method: got 'magic'"),
        ((IMAGE, KERNEL), {"backend": "magic"}, "backend: got 'magic'"),
        ((IMAGE, KERNEL), {"mask": jnp.ones((5, 6))}, "mask: got dtype float64, expected bool"),
        ((IMAGE, KERNEL), {"mask": jnp.ones((6, 5), bool)}, r"mask: got shape \(6, 5\), expected \(5, 6\)"),
        ((IMAGE, convolve.plan(KERNEL, (5, 6))), {"method": "fft"}, "kernel: got a Plan"),
        ((jnp.ones((6, 5)), convolve.plan(KERNEL, (5, 6))), {}, r"image: got shape \(6, 5\)"),
    ],
)
def test_convolve(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        convolve.convolve(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((KERNEL, 5), {}, "shape: got 5"),
        ((KERNEL, (5, 6, 7)), {}, "shape: got"),
        ((KERNEL, (5, 0)), {}, "shape: got 0"),
        ((KERNEL, (5, 6)), {"dtype": "int32"}, "kernel: got dtype int32"),
        ((convolve.plan(KERNEL, (5, 6)), (5, 6)), {}, "kernel: got Plan"),
    ],
)
def test_plan(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        convolve.plan(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((-1, 0.05), {}, "fwhm: got -1"),
        ((np.nan, 0.05), {}, "fwhm: got nan"),
        (((1, 2, 3), 0.05), {}, "fwhm: got 3 numbers"),
        ((0.1, 0), {}, "pixel_scale: got 0"),
        ((0.1, 0.05), {"shape": (3,)}, "shape: got"),
        ((0.1, 0.05), {"shape": (3, 0)}, "shape: got 0"),
        ((0.1, 0.05), {"truncate": -1}, "truncate: got -1"),
        ((0.1, 0.05), {"dtype": "int32"}, "dtype: got"),
    ],
)
def test_gaussian(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        convolve.gaussian(*arguments, **options)


def test_traced_width_needs_a_shape():
    with pytest.raises(ValueError, match="shape: got None"):
        jax.jit(lambda fwhm: convolve.gaussian(fwhm, 0.05).array)(0.1)


def test_float64_without_x64():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        convolve.convolve(np.ones((5, 6)), np.ones((3, 3)))


def test_backends_that_do_not_run_it_say_so():
    with pytest.raises(RuntimeError, match="cuda"):
        convolve.convolve(IMAGE, KERNEL, backend="cuda")
