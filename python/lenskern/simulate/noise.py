"""The noise of a CCD image: Poisson noise of source and sky, and Gaussian read noise."""

import numbers

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .poisson import poisson

__all__ = ["UNITS", "add_noise", "noise_map"]

UNITS = ("electrons_per_second", "counts")

# What `jax.random.fold_in` makes the key of each random process with.
_POISSON, _READ = 0, 1

# Negative means down to this many units in the last place of the largest are rounding, as of a Fourier transform.
_ROUNDING = 64


def add_noise(
    image,
    key,
    *,
    exposure_time=None,
    background=0.0,
    read_noise=0.0,
    unit="electrons_per_second",
    subtract_background=True,
    backend=None,
):
    """Draw a noisy image from its mean.

    The counts of a pixel are Poisson distributed with mean (image + background) × exposure time; read noise is added,
    and the sum is converted back. As for `autolens.SimulatorImaging`, the mean of the sky is then subtracted.

    Parameters
    ----------
    image : (...) array
        Mean without sky, in ``unit``. Where the mean with sky is negative by no more than rounding, 64 units in the
        last place of the largest, it is taken as 0.
    key : PRNG key
        One for the whole image; use `jax.vmap` for a batch.
    exposure_time : scalar or array
        In seconds, for all pixels or for each. Not needed for counts.
    background : scalar or array
        Mean of the sky per pixel in ``unit``, at least 0.
    read_noise : scalar or array
        Standard deviation in electrons per pixel.
    unit : {"electrons_per_second", "counts"}
        Of image, background and result; a count is an electron.
    subtract_background : bool
        False leaves the sky in the result.
    backend : {None, "reference", "cpp"}
        Of the Poisson draws; the result is the same on each.

    Returns
    -------
    (...) array
        In ``unit``; NaN where image + background is negative or not finite. Counts do not change with their mean but in
        jumps, so the derivative with respect to ``image`` is 0.

    Raises
    ------
    ValueError
        For an argument of the wrong shape or dtype, a number out of range, or a missing exposure time.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from lenskern.simulate import noise
    >>> mean = jnp.ones((100, 100), jnp.float32)
    >>> image = noise.add_noise(mean, jax.random.key(0), exposure_time=1000.0, background=0.1, read_noise=4.0)
    >>> round(float(image.std()), 3)  # √(1000 × 1.1 + 4²)/1000 is 0.0334
    0.033
    """
    image, time, background, read_noise = _arguments(image, exposure_time, background, read_noise, unit)
    rate = (image + background) * time
    largest = jnp.max(jnp.abs(rate), initial=0.0, where=jnp.isfinite(rate))
    rounding = (rate < 0) & (rate >= -_ROUNDING * jnp.finfo(rate.dtype).eps * largest)
    counts = poisson(jax.random.fold_in(key, _POISSON), jnp.where(rounding, 0.0, rate), backend=backend)
    if read_noise is not None:
        # A GPU would have to ask the host which branch to take, for less than it takes to draw the noise. What is added
        # for a read noise of 0 is 0.
        counts = jax.lax.platform_dependent(
            counts, read_noise, key, cpu=_with_read_noise_if_any, default=_with_read_noise
        )
    return counts / time - background if subtract_background else counts / time


def _with_read_noise_if_any(counts, read_noise, key):
    return jax.lax.cond(jnp.any(read_noise != 0), _with_read_noise, lambda counts, *_: counts, counts, read_noise, key)


def _with_read_noise(counts, read_noise, key):
    return counts + read_noise * jax.random.normal(jax.random.fold_in(key, _READ), counts.shape, counts.dtype)


def noise_map(image, *, exposure_time=None, background=0.0, read_noise=0.0, unit="electrons_per_second"):
    """Standard deviation of each pixel.

    √((image + background) × exposure time + read noise²) / exposure time. Of the mean image it is the truth; of a noisy
    image it is the estimate that models are fitted with, that of `autolens.SimulatorImaging` without read noise.

    Parameters
    ----------
    image : (...) array
        In ``unit``, the sky subtracted. Where image + background is negative it is taken as 0.
    exposure_time, background, read_noise, unit
        As for `add_noise`.

    Returns
    -------
    (...) array
        In ``unit``.

    Raises
    ------
    ValueError
        As `add_noise`.
    """
    image, time, background, read_noise = _arguments(image, exposure_time, background, read_noise, unit)
    variance = jnp.maximum((image + background) * time, 0.0)
    if read_noise is not None:
        variance += read_noise**2
    return jnp.sqrt(variance) / time


def _arguments(image, exposure_time, background, read_noise, unit):
    """Checked and in the dtype of the image; read noise that is known to be absent is None."""
    _checks.choice("unit", unit, UNITS)
    image = _checks.float_array("image", image)
    if unit == "counts":
        exposure_time = 1.0
    elif exposure_time is None:
        raise ValueError("exposure_time: got None, expected seconds, as unit is 'electrons_per_second'")
    time = _operand("exposure_time", exposure_time, image, lambda x: x > 0, "above 0")
    absent = isinstance(read_noise, numbers.Real) and read_noise == 0
    sky = _operand("background", background, image, lambda x: x >= 0, "of at least 0")
    read_noise = _operand("read_noise", read_noise, image, lambda x: x >= 0, "of at least 0")
    return image, time, sky, None if absent else read_noise


def _operand(name, value, image, valid, expected):
    """A scalar or one value per pixel; numbers that are known now are checked."""
    if isinstance(value, numbers.Real | np.ndarray) and not np.all(valid(value) & np.isfinite(value)):
        raise ValueError(f"{name}: got {value}, expected finite numbers {expected}")
    if isinstance(value, numbers.Real) or not hasattr(value, "dtype") or getattr(value, "weak_type", False):
        value = jnp.asarray(value, image.dtype)
    value = _checks.float_array(name, value)
    _checks.same_dtype("image", image, name, value)
    try:
        same = jnp.broadcast_shapes(value.shape, image.shape) == image.shape
    except ValueError:
        same = False
    if not same:
        raise ValueError(f"{name}: got shape {value.shape}, expected a scalar or the shape of image, {image.shape}")
    return value
