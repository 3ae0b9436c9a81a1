"""Inversions by the CUDA kernels, lowered and compiled for a GPU without one; what nvcc makes of the kernels."""

import re

import jax
import jax.numpy as jnp
import pytest

from lenskern import backends, nnls
from lenskern.nnls import cuda, primitive

LANES = 1000
TARGET = "lenskern_nnls_solve_cuda"
# Registers of a thread, so that eight blocks of 64 threads, or two of 256, share a multiprocessor, and bytes that the
# functions keep elsewhere: what they save for their callers.
MOST_REGISTERS = 128
MOST_SPILLED = {"multiply": 0, "solve": 32, "factor": 256, "search": 400, "solve_lanes": 0}
# Shared memory of a multiprocessor and of a block, of an A100, and what the system takes from each block.
MULTIPROCESSOR, BLOCK, SYSTEM = 164 << 10, 163 << 10, 1 << 10


@pytest.fixture
def built():
    status = backends.availability("cuda")
    if not status.available:
        pytest.skip(status.reason)


def lowered(function, *shapes, dtype="float64", sharding=None, platform="cuda"):
    arguments = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape in shapes]
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,))


def solutions(guess, in_axes=0, **options):
    def one(Q, q, *x0):
        return nnls.solution(Q, q, x0=x0[0] if x0 else None, **options)

    return jax.vmap(one, in_axes=(in_axes, 0, 0) if guess else (in_axes, 0))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("K", [1, 40, 128])
def test_lowers_to_one_call(built, K, guess, dtype):
    shapes = [(K, K), (LANES, K)] + [(LANES, K)] * guess
    text = lowered(solutions(guess, None, backend="cuda"), *shapes, dtype=dtype).as_text()
    assert re.findall(r"custom_call @(\w+)", text) == [TARGET]
    assert f"tensor<{LANES}x{K}x{K}x" not in text, "the shared matrix is copied"


def test_lowers_without_64_bit_types(built):
    with jax.enable_x64(False):
        text = lowered(solutions(False, backend="cuda"), (8, 40, 40), (8, 40), dtype="float32").as_text()
    assert TARGET in text


def test_is_the_default_for_cuda_and_refused_elsewhere(built):
    most = cuda.most_unknowns()
    for K in (1, 128, most, most + 1):
        text = lowered(solutions(False), (2, K, K), (2, K)).as_text()
        assert (TARGET in text) == (most >= K)
    assert TARGET not in lowered(solutions(False, method="pdip"), (2, 5, 5), (2, 5)).as_text()
    with pytest.raises(NotImplementedError, match=f"up to {most} unknowns, got {most + 1}; use backend=None"):
        lowered(solutions(False, backend="cuda"), (2, most + 1, most + 1), (2, most + 1))
    with pytest.raises(NotImplementedError, match="NVIDIA GPUs only"):
        lowered(solutions(False, backend="cuda"), (2, 5, 5), (2, 5), platform="cpu")


@pytest.mark.parametrize(("capability", "K"), [("8.0", 128), ("8.9", 105), ("9.0", 128)])
def test_default_is_what_the_gpu_has_room_for(built, monkeypatch, capability, K):
    class Device:
        platform, compute_capability = "gpu", capability

    monkeypatch.setattr(cuda.jax, "local_devices", lambda: [Device()])
    assert primitive._kernel("cuda", K, "crossover", None) == "cuda"
    if capability == "8.9":
        assert primitive._kernel("cuda", 128, "crossover", None) != "cuda"


@pytest.mark.parametrize("kind", ["exact", "relaxed"])
def test_gradient_lowers(built, kind):
    def total(Q, q):
        return jnp.sum(solutions(False, backend="cuda", gradient=kind)(Q, q).x ** 2)

    text = lowered(jax.grad(total, (0, 1)), (8, 40, 40), (8, 40)).as_text()
    assert text.count(f"custom_call @{TARGET}") == 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("K", [40, 128])
def test_compiles_for_h200(built, h200, K, dtype):
    compiled = lowered(solutions(False, backend="cuda"), (64, K, K), (64, K), dtype=dtype, sharding=h200).compile()
    # The matrices are read where they are, and everything else is in registers and shared memory: no byte of scratch
    # memory, for which XLA keeps a place nevertheless.
    assert compiled.memory_analysis().temp_size_in_bytes <= 256


@pytest.mark.parametrize(
    ("lanes", "K", "shared"), [(1, 129, False), (16, 1291, False), (3, 1291, True), (100, 512, False)]
)
def test_large_compiles_for_h200(built, h200, lanes, K, shared):
    Q = (K, K) if shared else (lanes, K, K)
    calls = lowered(solutions(False, None if shared else 0, backend="cuda"), Q, (lanes, K), sharding=h200)
    # One float64 triangle for each lane that is solved at a time, of whole tiles, and some vectors.
    padded = -(-K // 64) * 64
    triangle, vectors = padded * (padded + 64) // 2 * 8, 24 * padded * 8
    assert calls.compile().memory_analysis().temp_size_in_bytes < min(lanes, 64) * (triangle + vectors)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])  # sm_75 has no tensor cores for this
def test_large_resources(cuda_resources, architecture):
    functions = cuda_resources("nnls_large_float64.cu", architecture)
    kernels = [name for name, found in functions.items() if found.registers is not None]
    assert len(kernels) == 1
    for name, found in functions.items():
        # Two blocks of 256 threads share a multiprocessor. What functions save for their callers counts as spilled; the
        # fallback in float64, with two fragments and a product, goes beyond it.
        assert (found.registers or 0) <= MOST_REGISTERS, name
        assert found.shared == 0, name
        assert found.spilled <= (512 if "diagonal" in name else 400), name


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_resources(cuda_resources, architecture):
    functions = cuda_resources("nnls_small.cu", architecture)
    assert len(functions) == 6  # the kernel for both types
    for name, found in functions.items():
        part = next(part for part in MOST_SPILLED if re.search(rf"small\d+{part}[EI]", name))
        assert found.spilled <= MOST_SPILLED[part], name
        assert found.shared == 0, name
        assert (found.registers or 0) <= MOST_REGISTERS, name


@pytest.mark.parametrize(("K", "blocks"), [(40, 8), (64, 3), (128, 1)])
def test_shared_memory(emulated_cuda, monkeypatch, K, blocks):
    emulated_cuda(monkeypatch)
    shared = cuda._ffi.load_cuda().nnls_shared(K)
    assert shared <= BLOCK and blocks * (shared + SYSTEM) <= MULTIPROCESSOR
