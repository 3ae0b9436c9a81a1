"""A contact sheet of a data set."""

import math
from pathlib import Path

import numpy as np

from ._require import require
from .store import DataSet, ImageStatus

__all__ = ["sheet"]


def sheet(data, out=None, *, images=16, columns=None, captions=()):
    """Draw images of a data set beside each other into a PNG.

    Each has its own brightness scale, linear in the faint parts and logarithmic in the bright ones (asinh).

    Parameters
    ----------
    data : path or DataSet
    out : path, optional
        ``NAME.png`` beside the set ``NAME.zarr`` by default.
    images : int or sequence of int
        The first so many that are there, or the numbers of some.
    columns : int, optional
        By default such that the sheet is nearly square.
    captions : sequence of str
        Parameters whose values are written below the images.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        For a path that is no set, a number or parameter that it does not have, or a set without images.
    """
    pyplot = require("matplotlib.figure")
    colors = require("matplotlib.colors")
    data = data if isinstance(data, DataSet) else DataSet(data)
    out = data.path.with_suffix(".png") if out is None else Path(out)
    numbers, status = _numbers(data, images), data.status[:]
    values = {name: data.parameter(name) for name in captions}
    columns = columns or math.ceil(math.sqrt(len(numbers)))
    rows = math.ceil(len(numbers) / columns)
    figure = pyplot.Figure(figsize=(1.8 * columns, (1.95 + 0.14 * len(values)) * rows + 0.25), layout="constrained")
    figure.suptitle(f"{data.path.name}: {len(numbers)} of {len(data)} images", fontsize=9)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, number in zip(axes, numbers, strict=False):
        image = np.asarray(data.image[number], float)
        caption = [f"{number}"] + [f"{name} {x[number]:.4g}" for name, x in values.items()]
        if status[number] != ImageStatus.VALID:
            caption[0] += f": {ImageStatus(status[number]).name.lower().replace('_', ' ')}"
        axis.set_title("\n".join(caption), fontsize=7, pad=2)
        axis.imshow(image, cmap="inferno", norm=_norm(image, colors), interpolation="nearest")
    figure.savefig(out, dpi=150)
    return out


def _numbers(data, images):
    if isinstance(images, int):
        if images < 1:
            raise ValueError(f"images: got {images}, expected at least 1")
        there = np.flatnonzero(data.status[:] != ImageStatus.ABSENT)
        if not len(there):
            raise ValueError(f"set: {str(data.path)!r} has no image yet")
        return there[:images]
    for number in images:
        if not 0 <= number < len(data):
            raise ValueError(f"images: got {number}, expected numbers from 0 to {len(data) - 1}")
    return np.asarray(images, int)


def _norm(image, colors):
    """From the faintest to nearly the brightest, linear up to a few times the scatter of the faint half."""
    finite = image[np.isfinite(image)]
    if not finite.size or finite.min() == finite.max():
        return None
    low, middle, high = np.percentile(finite, [1, 50, 99.8])
    faint = np.std(finite[finite <= middle])
    return colors.AsinhNorm(
        linear_width=max(3 * faint, (high - low) / 100, 1e-30), vmin=low, vmax=max(high, finite.max() / 2)
    )
