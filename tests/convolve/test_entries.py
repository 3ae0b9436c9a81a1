"""Mapping matrices that are known by their entries: convolved without being made, and the gradient of that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import backends, convolve
from lenskern.convolve import columns, entries

SHAPE = (19, 16)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
MASK = (Y - 8) ** 2 + (X - 6.5) ** 2 > 30
PIXELS = np.argwhere(~MASK).astype(np.int32)
N, S = len(PIXELS), 40
TOLERANCE = {"float64": 1e-13, "float32": 2e-5}


@pytest.fixture(params=["reference", "cpp"])
def backend(request, available):
    return available(request.param)


def make(rng, order, count=900, dtype="float64"):
    """Entries of which some share a place, some cancel and some are nowhere."""
    rows, at = rng.integers(N, size=count), rng.integers(S - 3, size=count)
    values = rng.normal(size=count)
    rows[1::7], at[1::7], values[1::7] = rows[::7][:129], at[::7][:129], -values[::7][:129]
    if order == "nowhere":
        rows[::11], rows[5::11], at[3::11], at[4::11] = -1, N, -1, S
    if order == "ascending":
        by_row = np.argsort(rows, kind="stable")
        rows, at, values = rows[by_row], at[by_row], values[by_row]
    return values.astype(dtype), rows.astype(np.int32), at.astype(np.int32)


def dense(values, rows, at):
    matrix = np.zeros((N, S), values.dtype)
    inside = (rows >= 0) & (rows < N) & (at >= 0) & (at < S)
    np.add.at(matrix, (rows[inside], at[inside]), values[inside])
    return matrix


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(5, 3), (4, 6), (41, 3)])
@pytest.mark.parametrize("order", ["any", "ascending", "nowhere"])
def test_agrees_with_the_matrix(backend, order, shape, dtype):
    rng = np.random.default_rng(1)
    listed, kernel = make(rng, order, dtype=dtype), rng.normal(size=shape).astype(dtype)
    found = entries.convolve(*listed, kernel, PIXELS, SHAPE, S, backend=backend)
    wanted = columns.convolve(dense(*listed), kernel, PIXELS, PIXELS, SHAPE, backend="reference")
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * np.abs(kernel).sum())


@pytest.mark.parametrize("order", ["ascending", "nowhere"])
def test_transpose(backend, order):
    """<w, A v> = <A' w, v>, entry by entry, and what is nowhere gets nothing."""
    rng = np.random.default_rng(2)
    (values, rows, at), kernel = make(rng, order), rng.normal(size=(4, 5))
    weights = rng.normal(size=(N, S))

    def total(values, kernel):
        return jnp.sum(weights * entries.convolve(values, rows, at, kernel, PIXELS, SHAPE, S, backend=backend))

    found, by_kernel = jax.jit(jax.grad(total, (0, 1)))(values, kernel)
    back = columns.convolve(weights, kernel, PIXELS, PIXELS, SHAPE, transposed=True, backend="reference")
    inside = (rows >= 0) & (rows < N) & (at >= 0) & (at < S)
    np.testing.assert_allclose(found[inside], np.asarray(back)[rows[inside], at[inside]], rtol=0, atol=1e-11)
    assert not found[~inside].any()
    np.testing.assert_allclose(np.sum(by_kernel * kernel), total(values, kernel), rtol=1e-11)
    np.testing.assert_allclose(np.sum(found * values), total(values, kernel), rtol=1e-11)
    # The gradient is linear in the weights: its own transpose is the map itself.
    tangent = rng.normal(size=len(values))
    _, vjp = jax.vjp(
        lambda w: jax.vjp(lambda v: entries.convolve(v, rows, at, kernel, PIXELS, SHAPE, S, backend=backend), values)[
            1
        ](w)[0],
        weights,
    )
    wanted = entries.convolve(tangent, rows, at, kernel, PIXELS, SHAPE, S, backend=backend)
    np.testing.assert_allclose(vjp(tangent)[0], wanted, rtol=0, atol=1e-12)


def test_transforms(backend):
    """Under vmap, every operand shared and not, and its gradients."""
    rng = np.random.default_rng(3)
    lists = [make(rng, "any", 60) for _ in range(3)]
    values, rows, at = (np.stack(x) for x in zip(*lists, strict=True))
    kernels, weights = rng.normal(size=(3, 3, 4)), rng.normal(size=(N, S))

    def blur(values, rows, at, kernel):
        return entries.convolve(values, rows, at, kernel, PIXELS, SHAPE, S, backend=backend)

    def slope(*operands):
        return jax.grad(lambda v, *rest: jnp.sum(weights * blur(v, *rest)))(*operands)

    operands = values, rows, at, kernels
    for axes in ((0, 0, 0, 0), (0, None, None, None), (None, 0, None, None), (None, None, 0, 0)):
        shared = [x if a == 0 else x[0] for x, a in zip(operands, axes, strict=True)]
        for function in (blur, slope):
            found = jax.jit(jax.vmap(function, axes))(*shared)
            for lane in range(3):
                alone = function(*(x[lane] if a == 0 else x for x, a in zip(shared, axes, strict=True)))
                np.testing.assert_allclose(found[lane], alone, rtol=0, atol=1e-12)


def test_a_masked_kernel_takes_it():
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=(5, 4))
    values, rows, at = make(rng, "nowhere")
    by_entries, by_image = convolve.masked(kernel, MASK), convolve.masked(kernel, MASK, method="fft")
    wanted = by_image.mapping_matrix(dense(values, rows, at))
    several = jnp.stack([values, 2 * values])
    for blur in (by_entries, by_image):
        np.testing.assert_allclose(blur.mapping_matrix_of(values, rows, at, S), wanted, rtol=0, atol=1e-12)
        found = blur.mapping_matrix_of(several, rows, at, S)
        np.testing.assert_allclose(found, [wanted, 2 * wanted], rtol=0, atol=1e-12)
        with pytest.raises(ValueError, match=r"rows: got shape \(3,\), dtype .*expected \(..., 900\) of integers"):
            blur.mapping_matrix_of(values, rows[:3], at, S)
        with pytest.raises(ValueError, match="columns: got shape .*, dtype float64, expected"):
            blur.mapping_matrix_of(values, rows, at.astype(float), S)
        with pytest.raises(ValueError, match="values: got dtype float32, expected the dtype of the kernel"):
            blur.mapping_matrix_of(values.astype("float32"), rows, at, S)
        with pytest.raises(ValueError, match="size: got 0"):
            blur.mapping_matrix_of(values, rows, at, 0)


def test_the_matrix_is_never_made(available):
    available("cpp")
    values, rows, at = make(np.random.default_rng(5), "any")
    blur, size = convolve.masked(np.ones((3, 3)), MASK), 5000
    call = jax.jit(lambda v, r, c: blur.mapping_matrix_of(v, r, c, size).sum())
    memory = call.lower(values, rows, at).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 1.1 * 8 * N * size  # the result alone


def test_no_entries(backend):
    nothing = jnp.zeros(0, jnp.int32)
    found = entries.convolve(jnp.zeros(0), nothing, nothing, jnp.ones((3, 3)), PIXELS, SHAPE, S, backend=backend)
    assert found.shape == (N, S) and not found.any()


def test_what_runs_it():
    operands = jnp.ones(2), jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32), jnp.ones((3, 3)), PIXELS

    def text(backend, platform):
        call = jax.jit(lambda *x: entries.convolve(*x, SHAPE, S, backend=backend))
        return call.trace(*operands).lower(lowering_platforms=(platform,)).as_text()

    assert "lenskern_convolve_scatter" not in text(None, "cuda")
    if backends.availability("cpp").available:
        assert "lenskern_convolve_scatter" in text(None, "cpu")
    with pytest.raises(NotImplementedError, match="'cpp' runs on the CPU only"):
        text("cpp", "cuda")
    with pytest.raises(NotImplementedError, match="'pallas' does not convolve mapping matrices"):
        text("pallas", "cpu")
