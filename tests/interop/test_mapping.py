"""Mapping matrices of autoarray, and point location in its Delaunay meshes."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern.interop import _delaunay, _mapping, autoarray

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:21, :18]
DISC = (Y - 9) ** 2 + (X - 8.5) ** 2 > 40
N = int((~DISC).sum())


def test_nearest():
    points, queries = RNG.normal(size=(37, 2)), RNG.normal(size=(500, 2))
    points[20:25] = points[3:8]  # as near as one another: the first counts
    queries[:37] = points
    wanted = ((queries[:, None] - points) ** 2).sum(-1).argmin(1)
    found = jax.jit(_delaunay.nearest)(queries, points)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, wanted)
    several = jnp.stack([points, points[::-1]])
    found = jax.jit(jax.vmap(_delaunay.nearest, (None, 0)))(queries, several)
    np.testing.assert_array_equal(found[0], wanted)
    np.testing.assert_array_equal(several[1][found[1]], points[wanted])


@pytest.fixture
def matrix():
    """A pixel of the image maps to three of twenty pixels of the source, and to a light profile."""
    made = np.zeros((N, 21))
    for _ in range(3):
        made[np.arange(N), RNG.integers(20, size=N)] += RNG.uniform(size=N)
    made[:, 20] = RNG.uniform(size=N)
    return jnp.asarray(made)


def lowered(function, *operands):
    return jax.jit(lambda *x: function(*x)).lower(*operands).as_text()


@pytest.mark.parametrize("use_fft", [True, False])
def test_blurred_as_autoarray_does(theirs, matrix, use_fft):
    kernel = theirs.Array2D.no_mask(RNG.uniform(size=(5, 7)), pixel_scales=1.0)
    psf, mask = theirs.Convolver(kernel=kernel, use_fft=use_fft), theirs.Mask2D(DISC, pixel_scales=1.0)

    def blur(matrix, xp=jnp, **keywords):
        return psf.convolved_mapping_matrix_from(matrix, mask, xp=xp, **keywords)

    wanted, on_numpy = jax.jit(blur)(matrix), blur(np.asarray(matrix), np)
    weights = RNG.normal(size=wanted.shape)
    slope = jax.jit(jax.grad(lambda m: jnp.sum(weights * blur(m))))(matrix)
    with autoarray.registered():
        np.testing.assert_allclose(jax.jit(lambda m: blur(m))(matrix), wanted, rtol=0, atol=1e-13)
        found = jax.jit(jax.grad(lambda m: jnp.sum(weights * blur(m))))(matrix)
        np.testing.assert_allclose(found, slope, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(blur(np.asarray(matrix), np), on_numpy)
        assert "fft" not in lowered(blur, matrix)
        # What lenskern has nothing for is autoarray's as before.
        if use_fft:
            assert "fft" in lowered(lambda m: blur(m, use_mixed_precision=True), matrix)


def test_a_mesh_is_blurred_by_its_entries(theirs, matrix, monkeypatch):
    """What a mapper lists is blurred without its matrix, which is made only where that is needed."""
    from autoarray.inversion.inversion.imaging.abstract import AbstractInversionImaging
    from autoarray.inversion.mappers.abstract import Mapper

    made = []
    rows, columns = np.nonzero(np.asarray(matrix))
    monkeypatch.setattr(Mapper, "_xp", jnp)
    monkeypatch.setattr(Mapper, "pixels", matrix.shape[1])
    monkeypatch.setattr(Mapper, "sparse_triplets_data", (rows, columns, matrix[rows, columns]))
    monkeypatch.setattr(Mapper, "mapping_matrix", property(lambda self: made.append(self) or matrix))
    mapper = object.__new__(Mapper)
    kernel = theirs.Array2D.no_mask(RNG.uniform(size=(5, 7)), pixel_scales=1.0)
    psf, mask = theirs.Convolver(kernel=kernel), theirs.Mask2D(DISC, pixel_scales=1.0)
    wanted = jax.jit(lambda m: psf.convolved_mapping_matrix_from(m, mask, xp=jnp))(matrix)

    def blurred(linear_obj, mixed):
        inversion = SimpleNamespace(psf=psf, settings=SimpleNamespace(use_mixed_precision=mixed))
        listed = AbstractInversionImaging._mapping_matrix_for_convolution_from(inversion, linear_obj)
        return psf.convolved_mapping_matrix_from(listed, mask, use_mixed_precision=mixed, xp=jnp)

    with autoarray.registered():
        np.testing.assert_allclose(jax.jit(lambda: blurred(mapper, False))(), wanted, rtol=0, atol=1e-13)
        assert not made
        np.testing.assert_allclose(jax.jit(lambda: blurred(mapper, True))(), wanted, rtol=0, atol=1e-4)
        assert len(made) == 1
        light = SimpleNamespace(mapping_matrix=matrix)  # no mesh
        np.testing.assert_allclose(jax.jit(lambda: blurred(light, False))(), wanted, rtol=0, atol=1e-13)
        # A list where it cannot be blurred as such becomes the matrix.
        listed = _mapping.Entries(rows, columns, matrix[rows, columns], mapper)
        found = jax.jit(lambda: psf.convolved_mapping_matrix_from(listed, mask, use_mixed_precision=True, xp=jnp))()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
        assert len(made) == 2


def test_curvature_as_autoarray_has_it(theirs, matrix, monkeypatch):
    from autoarray.inversion.inversion import inversion_util

    from lenskern import nnls

    orders, own = [], nnls.tile_order
    monkeypatch.setattr(nnls, "tile_order", lambda mask: orders.append(own(mask)) or orders[-1])

    mask = theirs.Mask2D(DISC, pixel_scales=1.0)
    noise = RNG.uniform(0.5, 2, N)
    settings = theirs.Settings(no_regularization_add_to_curvature_diag_value=0.3)
    for noise_map in (theirs.Array2D(noise, mask=mask), jnp.asarray(noise), noise):
        for indices in (None, [], [20]):

            def curvature(matrix, xp=jnp, noise_map=noise_map, indices=indices):
                return inversion_util.curvature_matrix_via_mapping_matrix_from(
                    matrix,
                    noise_map,
                    add_to_curvature_diag=True,
                    no_regularization_index_list=indices,
                    settings=settings,
                    xp=xp,
                )

            wanted = jax.jit(curvature)(matrix)
            with autoarray.registered():
                found = jax.jit(lambda m, f=curvature: f(m))(matrix)
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
                np.testing.assert_allclose(curvature(np.asarray(matrix), np), wanted, rtol=0, atol=1e-12)
    assert len(orders) == 3  # of the noise map that knows its mask


def test_seeds_of_a_delaunay_mesh(theirs):
    from autoarray.inversion.mesh.interpolator import delaunay

    own = delaunay._nearest_vertex_seed_from
    points, queries = jnp.asarray(RNG.normal(size=(30, 2))), jnp.asarray(RNG.normal(size=(2000, 2)))
    wanted = own(queries, points, xp=jnp)
    with autoarray.registered():
        assert delaunay._nearest_vertex_seed_from is not own
        np.testing.assert_array_equal(delaunay._nearest_vertex_seed_from(queries, points, xp=jnp), wanted)
        on_numpy = delaunay._nearest_vertex_seed_from(np.asarray(queries), np.asarray(points))
        assert isinstance(on_numpy, np.ndarray)
        np.testing.assert_array_equal(on_numpy, wanted)
    assert delaunay._nearest_vertex_seed_from is own


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (
            "autoarray.inversion.inversion.imaging.abstract.AbstractInversionImaging",
            "_mapping_matrix_for_convolution_from",
        ),
        ("autoarray.operators.convolver.Convolver", "convolved_mapping_matrix_from"),
        ("autoarray.inversion.inversion.inversion_util", "curvature_matrix_via_mapping_matrix_from"),
        ("autoarray.inversion.mesh.interpolator.delaunay", "_nearest_vertex_seed_from"),
        ("autoarray.inversion.mesh.interpolator.delaunay", "pix_indexes_delaunay_walk_from"),
        ("autoarray.inversion.inversion.abstract.AbstractInversion", "_log_det_symmetric_from"),
    ],
)
def test_another_autoarray_is_refused(theirs, monkeypatch, place, name):
    monkeypatch.setattr(f"{place}.{name}", lambda *arguments: None)
    with pytest.raises(RuntimeError, match=rf"{name}.*Known to work: autoarray"):
        autoarray.register()
    assert not autoarray.is_registered()
