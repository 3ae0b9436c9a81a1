"""Check a data set: is all of it there, can it be read, and are its images those of its config."""

import dataclasses

import jax
import numpy as np

from ... import _checks
from . import config as configs
from .recipe import deterministic, program
from .store import ARRAYS, DataSet, ImageStatus

__all__ = ["Verified", "verify"]


@dataclasses.dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes
    ----------
    images : int
    chunks : int
    missing : tuple of int
        Chunks that are not there.
    damaged : tuple of int
        Chunks that cannot be read, or with an image that has no status.
    repeated : int
        Images that were simulated again.
    different : tuple of int
        Those whose pixels, parameters or status were not bit for bit the same.
    """

    images: int
    chunks: int
    missing: tuple[int, ...]
    damaged: tuple[int, ...]
    repeated: int
    different: tuple[int, ...]

    @property
    def passed(self):
        """Whether nothing is wrong."""
        return not (self.missing or self.damaged or self.different)

    def __str__(self):
        lines = [f"{self.images} images in {self.chunks} chunks, {self.repeated} of them simulated again"]
        for name in ("missing", "damaged", "different"):
            found = getattr(self, name)
            what = "images" if name == "different" else "chunks"
            if found:
                lines.append(
                    f"{len(found)} {what} are {name}: {', '.join(map(str, found[:8]))}{' ...' * (len(found) > 8)}"
                )
        return "\n".join([*lines, "passed" if self.passed else "FAILED"])


def verify(data, *, sample=256, seed=0):
    """Read the whole of a data set, and simulate some of its images again.

    Parameters
    ----------
    data : path or DataSet
    sample : int
        Images to repeat, at random; rounded up to whole batches.
    seed : int
        Of their choice.

    Returns
    -------
    Verified
        On another device or with other versions than those of the set, images may well be different in the last digits.

    Raises
    ------
    ValueError
        For a path that is no set.
    """
    sample = _checks.positive_int("sample", sample)
    data = data if isinstance(data, DataSet) else DataSet(data)
    missing, damaged = data.missing(), []
    present = sorted(set(range(data.chunks)) - set(missing))
    for chunk in present:
        rows = slice(*data.bounds(chunk))
        try:
            status = {name: getattr(data, name)[rows] for name in ARRAYS}["status"]
        except Exception:  # whatever a codec raises for bytes that it did not write
            damaged.append(chunk)
            continue
        if (status == ImageStatus.ABSENT).any():
            damaged.append(chunk)
    recipe = configs.load(data).recipe()
    starts = [start for chunk in present if chunk not in damaged for start in range(*data.bounds(chunk), recipe.batch)]
    count = min(-(-sample // recipe.batch), len(starts))
    starts = np.sort(np.random.default_rng(seed).choice(starts, count, replace=False)) if count else []
    repeated, different = 0, []
    with deterministic(recipe.dtype):
        run = program(recipe, tuple(jax.local_devices()[:1]))
        for start in map(int, starts):
            again = run(np.arange(start, start + recipe.batch, dtype=np.uint32))
            end = min(start + recipe.batch, data.bounds(start // data.chunk)[1])
            same = np.ones(end - start, bool)
            for name in ARRAYS:
                there, here = (np.asarray(x) for x in (getattr(data, name)[start:end], again[name][: end - start]))
                same &= _bits(there, here)
            different += (start + np.flatnonzero(~same)).tolist()
            repeated += end - start
    return Verified(len(data), data.chunks, tuple(missing), tuple(damaged), repeated, tuple(different))


def _bits(a, b):
    """For each image, whether all bytes agree."""
    a, b = (np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8) for x in (a, b))
    return (a == b).all(-1)
