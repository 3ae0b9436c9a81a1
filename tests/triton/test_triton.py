"""The Triton kernels: the reference's results in Triton's interpreter, and code for a GPU."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lenskern._kernels.triton import convolve as convolution
from lenskern._kernels.triton import deflect as kernel
from lenskern._kernels.triton import elementwise, launch

from lenskern import backends, convolve, deflect
from lenskern.deflect.profiles import Profile

HERE = Path(__file__).parent


def test_interpreted_they_agree_with_the_reference():
    pytest.importorskip("triton", reason="no triton here; pip install 'lenskern[triton]'")
    environment = os.environ | {"TRITON_INTERPRET": "1", "JAX_PLATFORMS": "cpu"}
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(HERE), "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", *options, str(HERE / "interpreted.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE, timeout=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_what_is_missing_is_said(monkeypatch):
    status = backends.availability("triton")
    assert status.available == (launch.MISSING is None) and status.reason
    reason = "jax-triton needs the CUDA plugin of jax; pip install 'jax[cuda13]'"
    monkeypatch.setattr(launch, "MISSING", reason)
    assert backends.availability("triton").reason == reason
    with pytest.raises(RuntimeError, match="'triton' is not available: jax-triton needs the CUDA plugin"):
        deflect.plane(deflect.sis(jnp.zeros((1, 2)), 1.0), jnp.ones((3, 2)), backend="triton")


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [("jax_triton", "jax-triton cannot be imported .*lenskern.triton"), ("plugins", "CUDA plugin of jax")],
)
def test_import_without(monkeypatch, hidden, reason):
    if hidden == "jax_triton":
        monkeypatch.setitem(sys.modules, "jax_triton", None)
    else:
        pytest.importorskip("jax_triton", reason="no jax-triton here; pip install 'lenskern[triton]'")
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name.startswith("jax_cuda") else find(name)
        )
    spec = importlib.util.spec_from_file_location("without", launch.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert re.search(reason, module.MISSING)


def test_what_it_lacks_names_another_backend():
    shapes = (1, 3), (1, 3, 2), (1, 3), (1, 3), (1, 3, 2), (1, 3), (1, 5, 2)
    operands = [jnp.zeros(shape) for shape in shapes]
    with pytest.raises(NotImplementedError, match="tables.*reference"):
        kernel.plane(*operands, profiles=(Profile.NFW, Profile.TABLE))
    with pytest.raises(NotImplementedError, match="TNFWC.*reference"):
        kernel.plane(*operands, profiles=(Profile.TNFWC,), kind="potential")
    with pytest.raises(NotImplementedError, match="256 x 256 pixels, got 257 x 5.*backend=None"):
        convolution.convolve(jnp.zeros((1, 257, 5)), jnp.zeros((1, 260, 5), complex))
    with pytest.raises(NotImplementedError, match="several calls"):
        launch.call(None, out=None, programs=2**31, warps=1)


def test_on_the_cpu_it_says_so(monkeypatch):
    monkeypatch.setattr(launch, "MISSING", None)
    with pytest.raises(NotImplementedError, match="'triton' runs on NVIDIA GPUs only"):
        deflect.plane(deflect.sis(jnp.zeros((1, 2)), 1.0), jnp.ones((3, 2)), backend="triton")
    with pytest.raises(NotImplementedError, match="'triton' runs on NVIDIA GPUs only"):
        convolve.convolve(jnp.ones((9, 9)), np.ones((3, 3)), backend="triton")


def test_translation():
    def function(x, y):
        return jnp.where(x > y, jnp.sqrt(x) / 3, jnp.log1p(y)), jnp.sum(jnp.arange(2, dtype=x.dtype) * x + y)

    text = elementwise.source("f", function, ("x", "y"), "float32", 3)
    assert text.startswith("def f(x, y):\n")
    # Full precision in float32, constants in the type of the numbers, and everything once.
    assert text.count("tl.sqrt_rn(x)") == 1 and text.count("tl.div_rn(") == 1 and "libdevice.log1p(y)" in text
    assert "float64" not in text and "tl.full([], 3.0, tl.float32)" in text
    assert text.rstrip().endswith("tl.broadcast_to(tl.full([], 0.0, tl.float32), x.shape)")
    with pytest.raises(NotImplementedError, match="'sin' has no translation"):
        elementwise.source("f", lambda x: (jnp.sin(x),), ("x",), "float64", 1)


def lowered(function, *operands):
    """For an H200, which no one asks."""
    if launch.MISSING:
        pytest.skip(launch.MISSING)
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        traced = jax.jit(function).trace(*(jax.ShapeDtypeStruct(*operand) for operand in operands))
        return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("field", "profiles"), [(deflect.plane, (Profile.NFW, Profile.TNFW)), (deflect.jacobian, (Profile.CNFW,))]
)
def test_sums_lower_for_cuda(field, profiles, dtype):
    def lane(*arrays):
        return field(deflect.Halos(*arrays[:-1], profiles=profiles), arrays[-1], backend="triton")

    shapes = (50, 7), (50, 7, 2), (50, 7), (50, 7), (50, 7, 2), (7,), (500, 2)
    types = "int32", dtype, dtype, dtype, dtype, "bool", dtype
    text = lowered(jax.vmap(lane, (0, 0, 0, 0, 0, None, None)), *zip(shapes, types, strict=True))
    assert text.count("stablehlo.custom_call @triton_kernel_call") == 1
    assert re.search(r"tensor<1x500x2xf\d+>\) ->", text), "the shared rays are copied"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("side", [5, 100])
def test_convolutions_lower_for_cuda(side, dtype):
    def blur(image):
        return convolve.plan(np.ones((11, 11)), (side, side), dtype=dtype, backend="triton")(image)

    text = lowered(blur, ((1000, side, side), dtype))
    assert text.count("stablehlo.custom_call @triton_kernel_call") == 1
    assert "stablehlo.fft" not in text


def test_as_a_backend():
    def total(centre, grid, image):
        alpha = deflect.plane(deflect.sis(centre, 1.0), grid, backend="triton")
        return jnp.sum(alpha**2) + jnp.sum(convolve.convolve(image, np.ones((3, 3)), backend="triton") ** 2)

    shapes = ((4, 3, 2), "float64"), ((30, 2), "float64"), ((4, 8, 8), "float64")
    text = lowered(jax.vmap(jax.grad(total, (0, 2)), (0, None, 0)), *shapes)
    # The image's gradient is a convolution too; derivatives of the sums are the reference's.
    assert text.count("stablehlo.custom_call @triton_kernel_call") == 3
