"""What Pallas lacks through Mosaic GPU, so that our Pallas kernels still go through Triton: a change is to be noticed."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas

plgpu = pytest.importorskip("jax.experimental.pallas.mosaic_gpu", reason="no Mosaic GPU in this jaxlib")

PRESENT = {"log": jnp.log, "sqrt": jnp.sqrt, "div": lambda x: 1 / x, "select_n": lambda x: jnp.where(x > 0, x, -x)}
# What halo profiles and convolutions are made of besides, in the name of the primitive.
MISSING = {"log1p": jnp.log1p, "atan": jnp.arctan, "acosh": jnp.arccosh, "atanh": jnp.arctanh}
DTYPES = ["float64", "float32"]


def lowered(function, shape, dtype):
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        traced = jax.jit(function).trace(jax.ShapeDtypeStruct(shape, dtype))
        return traced.lower(lowering_platforms=("cuda",)).as_text()


def elementwise(operation, dtype):
    def body(x, out):
        out[...] = operation(x[...])

    return lowered(plgpu.kernel(body, out_type=jax.ShapeDtypeStruct((128,), dtype)), (128,), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PRESENT)
def test_what_is_there(name, dtype):
    assert "mosaic_gpu" in elementwise(PRESENT[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing(name, dtype):
    with pytest.raises(NotImplementedError, match=f"Unimplemented primitive in Pallas Mosaic GPU lowering: {name} "):
        elementwise(MISSING[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_missing(dtype):
    def body(x, out):
        out[...] = lax.dot_general(
            x[...], x[...], (((1,), (0,)), ((), ())), precision=lax.Precision.HIGHEST, preferred_element_type=dtype
        )

    with pytest.raises(NotImplementedError, match="Unimplemented primitive .*: dot_general "):
        lowered(plgpu.kernel(body, out_type=jax.ShapeDtypeStruct((64, 64), dtype)), (64, 64), dtype)


def test_pallas_call_does_not_go_through_it():
    def body(x, out):
        out[...] = x[...] + 1

    out = jax.ShapeDtypeStruct((128,), "float32")
    with pytest.raises(AssertionError):
        lowered(pallas.pallas_call(body, out_shape=out, compiler_params=plgpu.CompilerParams()), (128,), "float32")
