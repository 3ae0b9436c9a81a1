"""The Pallas kernel: exact in interpret mode, and code that a GPU's compiler takes."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lenskern._kernels.pallas import convolve as kernel
from scipy.signal import fftconvolve

from lenskern import convolve
from lenskern.convolve import reference

pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")

H200 = (Path(__file__).parents[1] / "data" / "h200.txtpb").read_text(encoding="utf-8")
TOLERANCE = {"float64": 1e-14, "float32": 2e-6}


def random(*shape, seed=0, dtype="float64"):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def close(found, wanted, dtype="float64"):
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * np.abs(wanted).max())


# The last does not fit into registers, so its result is summed in memory, a few columns at a time.
@pytest.mark.parametrize(
    ("shape", "size", "dtype", "lanes", "transposed"),
    [
        ((20, 33), (5, 4), "float64", (2, 2), True),
        ((7, 9), (13, 2), "float32", (1, 2), False),
        ((70, 129), (5, 7), "float64", (2, 1), False),
    ],
)
def test_interpreted_it_is_exact(shape, size, dtype, lanes, transposed):
    images, kernels = random(lanes[0], *shape, dtype=dtype), random(lanes[1], *size, seed=1, dtype=dtype)
    transform = reference.transform(kernels, reference.fft_shape(shape, size))
    (found,) = jax.jit(partial(kernel.convolve, transposed=transposed, interpret=True))(images, transform)
    assert found.shape == (2, *shape)
    close(found, reference.fft(images, transform, transposed), dtype)


def test_as_a_backend():
    images, psf = random(3, 12, 17), random(5, 6, seed=1)
    plan = convolve.plan(psf, (12, 17), backend="pallas")
    assert plan.method == "fft"
    out, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda x, y: (y * plan(x)).sum())))(images, images)
    wanted = np.array([fftconvolve(x, psf, mode="same") for x in images])
    close(out, (images * wanted).sum((1, 2)))
    close(slope, convolve.plan(psf, (12, 17), backend="reference").transpose(images))


def test_no_images():
    (found,) = kernel.convolve(jnp.zeros((0, 5, 6)), jnp.zeros((1, 8, 5), complex), interpret=True)
    assert found.shape == (0, 5, 6)


def test_what_it_lacks_names_another_backend():
    image = jax.ShapeDtypeStruct((1, 257, 5), "float64")
    with pytest.raises(NotImplementedError, match="256 x 256 pixels, got 257 x 5.*backend=None"):
        jax.eval_shape(kernel.convolve, image, jax.ShapeDtypeStruct((1, 260, 5), "complex128"))
    image = jax.ShapeDtypeStruct((2**15, 256, 256), "float32")
    with pytest.raises(NotImplementedError, match="several calls"):
        jax.eval_shape(kernel.convolve, image, jax.ShapeDtypeStruct((1, 270, 136), "complex64"))
    with pytest.raises(NotImplementedError, match="'pallas' runs 'fft', got method 'direct'"):
        convolve.plan(np.ones((3, 3)), (9, 9), method="direct", backend="pallas")


def test_import_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    spec = importlib.util.spec_from_file_location("without_triton", kernel.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(RuntimeError, match="no Pallas-Triton"):
        module.convolve(random(1, 5, 6), jnp.zeros((1, 8, 5), complex))


def lowered(side, dtype, sharding=None):
    """For 1000 images of a shared kernel."""
    length = reference.fast_length(side + 10)
    types = ((1000, side, side), dtype), ((1, length, length // 2 + 1), np.result_type(dtype, "complex64"))
    operands = [jax.ShapeDtypeStruct(shape, of, sharding=sharding) for shape, of in types]
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        return jax.jit(kernel.convolve).trace(*operands).lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("side", [5, 100, 256])
def test_lowers_for_cuda(side, dtype):
    text = lowered(side, dtype).as_text()
    assert text.count("stablehlo.custom_call") == 1
    assert "triton" in text and "lenskern_convolve_fft" in text
    assert "stablehlo.fft" not in text


def test_no_product_is_rounded_to_tf32():
    operands = random(1, 20, 20, dtype="float32"), jnp.zeros((1, 24, 13), "complex64")
    text = str(jax.make_jaxpr(partial(kernel.convolve, interpret=True))(*operands))
    assert text.count("dot_general") == text.count("precision=Precision.HIGHEST") > 0 or (
        text.count("dot_general") == text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("side", [100, 256])
def test_compiles_for_h200(side, dtype):
    pytest.importorskip(
        "jax_plugins.xla_cuda13",
        reason="no GPU compiler here; pip install jax-cuda13-plugin jax-cuda13-pjrt of the version of jax",
    )
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(platform="cuda", target_config=H200, topology="1x1x1")
    except NotImplementedError as error:
        pytest.skip(f"the GPU compiler did not load: {error}; JAX_PLATFORMS=cpu lets it do without cuDNN")
    memory = lowered(side, dtype, jax.sharding.SingleDeviceSharding(topology.devices[0])).compile().memory_analysis()
    # The scaled transform of the kernel, and nothing of the size of the images.
    assert memory.temp_size_in_bytes < 300 * 150 * 2 * 8 + 2**14


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("side", [100, 256])
def test_runs_on_a_gpu(side, dtype):
    if jax.default_backend() != "gpu":
        pytest.skip("no GPU here")
    images, kernels = random(50, side, side, dtype=dtype), random(1, 21, 21, seed=1, dtype=dtype)
    transform = reference.transform(kernels, reference.fft_shape((side, side), (21, 21)))
    close(jax.jit(kernel.convolve)(images, transform)[0], reference.fft(images, transform), dtype)
