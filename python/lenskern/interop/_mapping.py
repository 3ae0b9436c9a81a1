"""Mapping matrices of PyAutoArray on the CPU: blurred by the PSF, and their curvature matrix, past the zeros.

A pixel of a source is seen in few pixels of the image, so that a mapping matrix is mostly zeros, blurred as well. On
JAX autoarray writes all of it, transforms each of its columns as an image to blur it, and multiplies all of it for the
curvature matrix. That is most of the time of a likelihood with a mesh.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import convolve, nnls
from ._known import arguments_of, known

_BLUR = (
    "self",
    "mapping_matrix",
    "mask",
    "blurring_mapping_matrix",
    "blurring_mask",
    "jax_method",
    "use_mixed_precision",
    "xp",
)
_CURVATURE = (
    "mapping_matrix",
    "noise_map",
    "add_to_curvature_diag",
    "no_regularization_index_list",
    "settings",
    "xp",
)


class Entries(NamedTuple):
    """A mapping matrix that has not been made: its entries, added up where a place has several.

    Attributes
    ----------
    rows, columns : (E,) int arrays
    values : (E,) array
    mapper : Mapper
        autoarray's, which has the matrix.
    """

    rows: Any
    columns: Any
    values: Any
    mapper: Any


def patches(mismatch):
    """(owner, name, value) of what `register` replaces around mapping matrices; `mismatch` as for `known`."""
    from autoarray.inversion.inversion import inversion_util
    from autoarray.inversion.inversion.imaging.abstract import AbstractInversionImaging
    from autoarray.inversion.mappers.abstract import Mapper
    from autoarray.operators.convolver import Convolver

    if not hasattr(Mapper, "sparse_triplets_data"):
        raise mismatch("Mapper has no sparse_triplets_data")
    choose = known(AbstractInversionImaging, "_mapping_matrix_for_convolution_from", ("self", "linear_obj"), mismatch)
    blur = known(Convolver, "convolved_mapping_matrix_from", _BLUR, mismatch)
    multiply = known(inversion_util, "curvature_matrix_via_mapping_matrix_from", _CURVATURE, mismatch)
    return [
        (AbstractInversionImaging, "_mapping_matrix_for_convolution_from", _listing(choose, Mapper)),
        (Convolver, "convolved_mapping_matrix_from", _blurring(blur)),
        (inversion_util, "curvature_matrix_via_mapping_matrix_from", _multiplying(multiply)),
    ]


def _listing(own, mapper_type):
    """What an inversion gives its PSF to blur: of a mesh the entries, where lenskern blurs them."""

    @functools.wraps(own)
    def _mapping_matrix_for_convolution_from(self, linear_obj):
        plain = self.psf.convolve_over_sample_size == 1 and not self.settings.use_mixed_precision
        if plain and isinstance(linear_obj, mapper_type) and _is_ours(np.dtype("float64"), linear_obj._xp):
            return Entries(*linear_obj.sparse_triplets_data, linear_obj)
        return own(self, linear_obj)

    return _mapping_matrix_for_convolution_from


def _blurring(own):
    """autoarray's blurring of a mapping matrix, past its zeros where JAX runs on the CPU in float64."""
    given = arguments_of(own)

    @functools.wraps(own)
    def convolved_mapping_matrix_from(*args, **kwargs):
        convolver, matrix, mask, *rest, mixed, xp = given(args, kwargs)
        is_list = isinstance(matrix, Entries)
        plain = convolver.convolve_over_sample_size == 1 and rest[0] is None and not mixed
        if not (plain and _is_ours(matrix.values.dtype if is_list else matrix.dtype, xp)):
            return own(convolver, matrix.mapper.mapping_matrix if is_list else matrix, mask, *rest, mixed, xp)
        kernel = convolver.kernel.native.array
        kernel = kernel if isinstance(kernel, jax.core.Tracer) else np.asarray(kernel, np.float64)
        blur = convolve.masked(kernel, np.asarray(mask.array, bool))
        if is_list:
            return blur.mapping_matrix_of(matrix.values, matrix.rows, matrix.columns, matrix.mapper.pixels)
        return blur.mapping_matrix(matrix)

    return convolved_mapping_matrix_from


def _multiplying(own):
    """autoarray's curvature matrix, past the zeros of the mapping matrix where JAX runs on the CPU."""
    given = arguments_of(own)

    @functools.wraps(own)
    def curvature_matrix_via_mapping_matrix_from(*args, **kwargs):
        matrix, noise_map, add_to_diagonal, indices, settings, xp = given(args, kwargs)
        if not _is_ours(matrix.dtype, xp):
            return own(*args, **kwargs)
        from autoarray.inversion.inversion import inversion_util

        noise = jnp.asarray(getattr(noise_map, "array", noise_map), matrix.dtype)
        mask = getattr(noise_map, "mask", None)
        mask = np.asarray(mask.array, bool) if np.ndim(mask) == 2 else None
        order = nnls.tile_order(mask) if mask is not None and np.sum(~mask) == len(matrix) else None
        curvature = nnls.normal_matrix(matrix, noise, order=order)
        if add_to_diagonal and indices is not None and len(indices) > 0:
            curvature = inversion_util.curvature_matrix_with_added_to_diag_from(
                curvature_matrix=curvature,
                value=settings.no_regularization_add_to_curvature_diag_value,
                no_regularization_index_list=indices,
                xp=xp,
            )
        return curvature

    return curvature_matrix_via_mapping_matrix_from


def _is_ours(dtype, xp):
    # GPUs have no kernel for this, and transforms and products that are fast.
    return xp is not np and dtype == np.float64 and jax.default_backend() == "cpu"
