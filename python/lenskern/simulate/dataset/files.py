"""The files that a config names: their arrays, and their contents, which are stored with a set."""

import io
from pathlib import Path

import numpy as np

__all__ = ["Files"]


class Files:
    """Files beside a config, or those that were stored with a set.

    Parameters
    ----------
    folder : Path or None
        Of the config.
    contents : dict of str to bytes or None
        In place of a folder.
    """

    def __init__(self, folder, contents):
        self._folder, self._stored, self.contents = folder, contents, {}

    def array(self, value):
        """The array in a file, NumPy or FITS.

        Parameters
        ----------
        value : Value
            The path; relative to the folder.

        Returns
        -------
        (H, W) array

        Raises
        ------
        ConfigError
            For a file that is not there or holds something else.
        """
        name = value.string()
        try:
            content = (self._folder / name).read_bytes() if self._stored is None else self._stored[name]
            found = self._fits(value, content) if _is_fits(name) else np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise value.error(f"{name!r} cannot be read as a NumPy (.npy) or FITS file: {error}") from None
        if getattr(found, "ndim", None) != 2 or 0 in found.shape or not np.issubdtype(found.dtype, np.number):
            raise value.error(f"got an array of shape {np.shape(found)} in {name!r}, expected numbers (H, W)")
        if not np.isfinite(found).all():
            raise value.error(f"got numbers in {name!r} that are not finite")
        self.contents[name] = content
        return found.astype(float)

    @staticmethod
    def _fits(value, content):
        try:
            from astropy.io import fits
        except ModuleNotFoundError:
            raise value.error("FITS files need astropy: pip install 'lenskern[cosmology]'") from None
        return next(hdu.data for hdu in fits.open(io.BytesIO(content)) if hdu.data is not None)


def _is_fits(name):
    return Path(name.removesuffix(".gz")).suffix.lower() in (".fits", ".fit", ".fts")
