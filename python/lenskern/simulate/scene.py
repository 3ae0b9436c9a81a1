"""What is fixed in a set of images: pixels, over-sampling, PSF, exposure and the model of the lens."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, backends, convolve
from .noise import UNITS

__all__ = ["Scene", "radial_over_sampling"]

_DATA = ("rays", "order", "psf", "exposure_time", "background", "read_noise")
_STATIC = (
    "shape",
    "pixel_scale",
    "groups",
    "margins",
    "unit",
    "subtract_background",
    "positions",
    "tol",
    "backend",
)


@jax.tree_util.register_pytree_node_class
class Scene:
    """What is fixed in a set of images; see `simulate`.

    A pytree of arrays, whose geometry is static: a compiled `simulate` is used again for another exposure time, but not
    for another shape.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image. The pixels are centred on (0, 0), row 0 is the top, that of largest y.
    pixel_scale : float
        Width of a pixel in arcsec.
    over_sampling : int or (H, W) array of int
        Each pixel is the mean of so many by so many points; `radial_over_sampling` makes an adaptive map.
    psf : (h, w) array or lenskern.convolve.Separable, optional
        Kernel of the point-spread function, one value for each pixel; `lenskern.convolve.gaussian` makes one. What it
        drags in from outside the image is computed there.
    normalize_psf : bool
        Whether the kernel is divided by its sum.
    margin_over_sampling : int
        Over-sampling of the pixels outside the image, 1 as in autolens.
    exposure_time : scalar, optional
        In seconds; needed for noise and for counts.
    background : scalar
        Sky in electrons per second and pixel. It adds its noise.
    subtract_background : bool
        Whether the sky itself is subtracted again.
    read_noise : scalar
        Standard deviation in electrons per pixel.
    unit : {"electrons_per_second", "counts"}
        Of the image; intensities of light are in electrons per second and pixel.
    model : callable, optional
        ``model(theta, key)`` gives the `System` of a theta, drawing populations with the key. None takes the System
        itself as theta. A callable that is a pytree (`jax.tree_util.Partial`) brings its arrays with it.
    positions : {"physical", "observed"}
        What the centres of haloes are; see `lenskern.deflect.trace`.
    tol : float, optional
        Largest error in arcsec of the deflection by the haloes of a plane that the far field may add. By the default
        images err by less than 1e-8 of their brightness; None keeps that at the level of rounding, 0 sums directly.
    dtype : dtype, optional
        float32 or float64; JAX's default float.
    backend : {None, "reference", "cpp", "cuda", "pallas", "triton"}
        What sums the haloes; see `lenskern.deflect.plane`.

    Attributes
    ----------
    rays : (n, 2) array
        Where rays are traced, (y, x) in arcsec.
    padded_shape : (int, int)
        Of the image with what the kernel drags in.
    psf : lenskern.convolve.Plan or None

    Raises
    ------
    ValueError
        For an argument of the wrong shape, dtype or value.
    """

    def __init__(
        self,
        shape=(100, 100),
        pixel_scale=0.05,
        *,
        over_sampling=4,
        psf=None,
        normalize_psf=True,
        margin_over_sampling=1,
        exposure_time=None,
        background=0.0,
        subtract_background=True,
        read_noise=0.0,
        unit="electrons_per_second",
        model=None,
        positions="physical",
        tol=1e-8,
        dtype=None,
        backend=None,
    ):
        shape = _shape(shape)
        pixel_scale = _checks.positive_float("pixel_scale", pixel_scale)
        sizes = _over_sampling(over_sampling, shape)
        dtype = _dtype(dtype)
        _checks.choice("unit", unit, UNITS)
        _checks.choice("positions", positions, ("physical", "observed"))
        tol = _checks.tolerance("tol", tol)
        if backend is not None:
            backends.require(backend)
        if model is not None and not callable(model):
            raise ValueError(f"model: got {type(model).__name__}, expected a callable, or None")
        if exposure_time is None and unit == "counts":
            raise ValueError("exposure_time: got None, expected seconds above 0 for unit='counts'")
        margins = _margins(psf)
        padded = np.pad(
            sizes, margins, constant_values=_checks.positive_int("margin_over_sampling", margin_over_sampling)
        )
        self.rays, self.order, self.groups = _rays(padded, margins, shape, pixel_scale, dtype)
        self.shape, self.pixel_scale, self.margins = shape, pixel_scale, margins
        self.psf = None
        if psf is not None:
            self.psf = convolve.plan(psf, self.padded_shape, normalize=bool(normalize_psf), dtype=dtype)
        self.exposure_time = None if exposure_time is None else _number("exposure_time", exposure_time, dtype, 0, False)
        self.background = _number("background", background, dtype, 0)
        self.read_noise = _number("read_noise", read_noise, dtype, 0)
        self.subtract_background, self.unit = bool(subtract_background), unit
        self.model, self.positions, self.tol, self.backend = model, positions, tol, backend

    @property
    def padded_shape(self):
        """Of the image with what the kernel drags in."""
        return tuple(n + sum(margin) for n, margin in zip(self.shape, self.margins, strict=True))

    @property
    def dtype(self):
        """Of the image and of all that it is made of."""
        return self.rays.dtype

    def tree_flatten(self):
        # A model without arrays is compared by identity, as a static argument is.
        static = jax.tree_util.all_leaves([self.model])
        data = [*(getattr(self, name) for name in _DATA), None if static else self.model]
        return data, (*(getattr(self, name) for name in _STATIC), self.model if static else None)

    @classmethod
    def tree_unflatten(cls, static, data):
        scene = object.__new__(cls)
        for name, value in zip((*_DATA, *_STATIC), (*data[:-1], *static[:-1]), strict=True):
            setattr(scene, name, value)
        scene.model = data[-1] if static[-1] is None else static[-1]
        return scene


def radial_over_sampling(shape, pixel_scale, radii, sizes, centres=((0.0, 0.0),)):
    """Over-sampling by the distance from one or several centres, as autolens's radial bins.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    pixel_scale : float
        In arcsec.
    radii : sequence of float
        Outer radii of the bins in arcsec, increasing; the last bin has none that counts.
    sizes : sequence of int
        Over-sampling of each bin.
    centres : sequence of (float, float)
        (y, x) in arcsec. A pixel gets the largest size that one of them asks for.

    Returns
    -------
    (H, W) array of int

    Raises
    ------
    ValueError
        For lists of different lengths, radii that do not increase, or a size below 1.

    Examples
    --------
    >>> from lenskern import simulate
    >>> print(simulate.radial_over_sampling((3, 5), 1.0, radii=[0.5, 1.5], sizes=[8, 2]))
    [[2 2 2 2 2]
     [2 2 8 2 2]
     [2 2 2 2 2]]
    """
    shape = _shape(shape)
    radii = np.asarray(radii, float)
    sizes = np.asarray([_checks.positive_int("sizes", size) for size in sizes])
    if radii.ndim != 1 or radii.shape != sizes.shape or not len(radii):
        raise ValueError(
            f"sizes: got {len(sizes)} of them for radii of shape {radii.shape}, expected one for each radius"
        )
    if not np.all(np.diff(radii) > 0):
        raise ValueError(f"radii: got {radii.tolist()}, expected increasing numbers")
    pixels = _pixels(shape, ((0, 0), (0, 0)), shape, _checks.positive_float("pixel_scale", pixel_scale))
    found = np.zeros(shape, int)
    for centre in centres:
        distance = np.hypot(*np.moveaxis(pixels - np.asarray(centre, float), -1, 0))
        bins = np.searchsorted(radii, distance, side="left")
        found = np.maximum(found, sizes[np.minimum(bins, len(sizes) - 1)])
    return found


def _pixels(padded_shape, margins, shape, pixel_scale):
    """Centres of pixels (y, x), shape (*padded_shape, 2)."""
    y, x = (
        (np.arange(n) - before - (inside - 1) / 2) * pixel_scale
        for n, (before, _), inside in zip(padded_shape, margins, shape, strict=True)
    )
    return np.stack(np.meshgrid(-y, x, indexing="ij"), -1)


def _rays(sizes, margins, shape, pixel_scale, dtype):
    """Positions of all rays, where each pixel is among the means of the groups, and the groups.

    A group is (size, number of pixels) of the pixels with the same over-sampling; the rays of a pixel are neighbours.
    """
    centres = _pixels(sizes.shape, margins, shape, pixel_scale).reshape(-1, 2)
    rays, groups, found = [], [], []
    for size in np.unique(sizes):
        (pixels,) = np.nonzero(sizes.reshape(-1) == size)
        offset = ((np.arange(size) + 0.5) / size - 0.5) * pixel_scale
        inside = np.stack(np.meshgrid(-offset, offset, indexing="ij"), -1).reshape(-1, 2)
        rays.append((centres[pixels, None] + inside).reshape(-1, 2))
        groups.append((int(size), len(pixels)))
        found.append(pixels)
    order = np.argsort(np.concatenate(found)).astype(np.int32)
    return jnp.asarray(np.concatenate(rays), dtype), jnp.asarray(order), tuple(groups)


def _shape(shape):
    try:
        rows, columns = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape: got {shape!r}, expected (rows, columns)") from None
    return _checks.positive_int("shape[0]", rows), _checks.positive_int("shape[1]", columns)


def _over_sampling(value, shape):
    """The map of sizes, from a number or a map."""
    if np.ndim(value) == 0:
        return np.full(shape, _checks.positive_int("over_sampling", value))
    value = np.asarray(value)
    if value.shape != shape or not np.issubdtype(value.dtype, np.integer) or value.min() < 1:
        raise ValueError(
            f"over_sampling: got {value.dtype} of shape {value.shape}, expected an integer above 0 or a map of them "
            f"of shape {shape}"
        )
    return value


def _dtype(value):
    dtype = jnp.result_type(float) if value is None else np.dtype(value)
    return _checks.float_array("dtype", np.zeros(0, dtype)).dtype


def _margins(psf):
    """Pixels outside the image that a kernel drags in, before and after it, along each axis."""
    shape = (1, 1) if psf is None else np.shape(psf) if not hasattr(psf, "shape") else psf.shape
    if len(shape) != 2:
        raise ValueError(f"psf: got {type(psf).__name__} of shape {shape}, expected (h, w){_checks.native_hint(psf)}")
    return tuple((n // 2, (n - 1) // 2) for n in shape)


def _number(name, value, dtype, least, with_least=True):
    """A scalar of a dtype, in range if its value is known now."""
    expected = f"a finite number {'of at least' if with_least else 'above'} {least}"
    if isinstance(value, bool) or np.ndim(value) != 0:
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    if not isinstance(value, jax.core.Tracer):
        number = float(value)
        if not (np.isfinite(number) and (number >= least if with_least else number > least)):
            raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return jnp.asarray(value, dtype)
