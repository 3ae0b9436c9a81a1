"""A data set on disk: Zarr arrays whose chunks are whole or absent, whatever happens to who writes them."""

import contextlib
import enum
import json
import os
import shutil
import uuid
from pathlib import Path

import numpy as np

from ._require import require

__all__ = ["DataSet", "ImageStatus"]

FORMAT = 1

# In the order in which the files of a chunk appear: a chunk whose images are there has everything.
ARRAYS = ("theta", "status", "overflow", "image")


class ImageStatus(enum.IntEnum):
    """What became of an image."""

    ABSENT = -1
    VALID = 0
    NOT_FINITE = 1
    OVERFLOW = 2

    @property
    def sentence(self):
        """The code in words."""
        return _SENTENCES[self]


_SENTENCES = {
    ImageStatus.ABSENT: "The image has not been simulated yet.",
    ImageStatus.VALID: "The image is valid.",
    ImageStatus.NOT_FINITE: "A pixel of the image is NaN or infinite: a parameter was out of range.",
    ImageStatus.OVERFLOW: "A population had more haloes than it has room for.",
}


class DataSet:
    """An open data set.

    Attributes
    ----------
    path : Path
    image : zarr.Array
        (n, H, W); NaN where the image is absent.
    theta : zarr.Array
        (n, P), the parameters in the order of `names`.
    status : zarr.Array
        (n,), `ImageStatus` codes.
    overflow : zarr.Array
        (n,), haloes for which the populations of an image had no room.
    names : tuple of str
        Of the parameters.
    settings : dict
        The config without its places: what two sets must share to have the same images.
    attributes : dict
        All that is stored: besides `settings` the text of the config, its files, the seed, and the runs with their
        versions and devices.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._open()

    def _open(self):
        zarr = require("zarr")
        try:
            attributes = read_json(self.path / "zarr.json")["attributes"]["lenskern"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"set: got {str(self.path)!r}, expected a data set of lenskern") from None
        if attributes["format"] != FORMAT:
            raise ValueError(
                f"set: {str(self.path)!r} has the format {attributes['format']}, this version of lenskern "
                f"reads format {FORMAT}"
            )
        self.attributes = attributes
        self.names = tuple(attributes["parameters"])
        self.settings = attributes["settings"]
        group = zarr.open_group(self.path, mode="r")
        self.image, self.theta, self.status, self.overflow = (
            group[name] for name in ("image", "theta", "status", "overflow")
        )
        self.chunk = self.image.chunks[0]

    @classmethod
    def create(cls, path, *, images, shape, chunk, dtype, attributes):
        """Make an empty set; it appears at once.

        Parameters
        ----------
        path : path
            Where there is nothing yet, or an empty folder.
        images : int
        shape : (H, W)
        chunk : int
            Images in a chunk.
        dtype : dtype
        attributes : dict
            With `parameters`, `settings` and all that is to be stored.

        Returns
        -------
        DataSet
        """
        zarr = require("zarr")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        shapes = {
            "image": (shape, dtype, np.nan, ("y", "x")),
            "theta": ((len(attributes["parameters"]),), dtype, np.nan, ("parameter",)),
            "status": ((), np.int32, int(ImageStatus.ABSENT), ()),
            "overflow": ((), np.int32, 0, ()),
        }
        try:
            group = zarr.open_group(draft, mode="w", attributes={"lenskern": {"format": FORMAT} | attributes})
            for name, (rest, kind, fill, dimensions) in shapes.items():
                group.create_array(
                    name,
                    shape=(images, *rest),
                    chunks=(chunk, *(max(n, 1) for n in rest)),
                    dtype=kind,
                    fill_value=fill,
                    # Small for counts of photons, and a chunk that the disk has damaged is an error when it is read.
                    compressors=zarr.codecs.ZstdCodec(level=0, checksum=True),
                    dimension_names=("image", *dimensions),
                    attributes={"names": list(attributes["parameters"])} if name == "theta" else None,
                )
            os.replace(draft, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls(path)

    def __len__(self):
        return self.image.shape[0]

    @property
    def chunks(self):
        """Number of chunks, present or not."""
        return -(-len(self) // self.chunk)

    def bounds(self, chunk):
        """First image of a chunk, and the one after its last."""
        return chunk * self.chunk, min((chunk + 1) * self.chunk, len(self))

    def missing(self):
        """The chunks that are not there, in order: found by looking, so that no record can be wrong about it.

        Returns
        -------
        list of int
        """
        return [chunk for chunk in range(self.chunks) if not self.has(chunk)]

    def has(self, chunk):
        """Whether a chunk is there."""
        return all(self._file(name, chunk).exists() for name in ARRAYS)

    def parameter(self, name):
        """The values of a parameter.

        Parameters
        ----------
        name : str

        Returns
        -------
        (n,) array
            NaN where the image is absent.
        """
        if name not in self.names:
            raise ValueError(f"name: got {name!r}, expected one of {', '.join(self.names)}")
        return self.theta[:, self.names.index(name)]

    def write(self, chunk, values):
        """Write a chunk: all of its files are whole before they get their names, the images last.

        Parameters
        ----------
        chunk : int
        values : dict of str to array
            For each of the four arrays what belongs in its part from `bounds`.
        """
        for name in ARRAYS:
            path = self._file(name, chunk)
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, self._encode(name, chunk, values[name]), self.path / name)

    def _encode(self, name, chunk, values):
        """The bytes of a chunk, by an array in memory with the metadata of that on disk."""
        zarr = require("zarr")
        metadata = read_json(self.path / name / "zarr.json")
        metadata["shape"] = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        buffer = require("zarr.buffer").default_buffer_prototype().buffer
        files = {"zarr.json": buffer.from_bytes(json.dumps(metadata).encode())}
        array = zarr.open_array(zarr.storage.MemoryStore(files), mode="r+", config={"write_empty_chunks": True})
        block = np.full(array.shape, array.fill_value, array.dtype)
        block[: len(values)] = values
        array[...] = block
        return files[self._key(name, 0)].to_bytes()

    def _key(self, name, chunk):
        return "/".join(["c", str(chunk), *["0"] * (len(getattr(self, name).shape) - 1)])

    def _file(self, name, chunk):
        return self.path / name / self._key(name, chunk)

    def resize(self, images):
        """Make room for more images. A last chunk that was not full is taken away, to be simulated whole.

        Parameters
        ----------
        images : int
            At least as many as there are.
        """
        now = len(self)
        if images < now:
            raise ValueError(f"n: got {images}, expected at least the {now} images that the set has")
        if images > now and now % self.chunk:
            for name in reversed(ARRAYS):
                self._file(name, now // self.chunk).unlink(missing_ok=True)
        for name in ARRAYS:
            metadata = read_json(self.path / name / "zarr.json")
            if metadata["shape"][0] != images:
                metadata["shape"][0] = images
                write_json(self.path / name / "zarr.json", metadata)
        self._open()

    def update(self, **attributes):
        """Change attributes of the set."""
        metadata = read_json(self.path / "zarr.json")
        metadata["attributes"]["lenskern"] |= attributes
        write_json(self.path / "zarr.json", metadata)
        self.attributes |= attributes

    @contextlib.contextmanager
    def locked(self):
        """Keep other processes from filling the set at the same time, and take away what a killed one left behind."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            if not _lock(handle):
                raise ValueError(f"out: another process is filling {str(self.path)!r}")
            for folder in (self.path, *(self.path / name for name in ARRAYS)):
                for draft in folder.glob(".*.partial"):
                    draft.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)


def read_json(path):
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path, data):
    """Write a JSON file, whole or not at all."""
    _replace(Path(path), json.dumps(data, indent=2).encode(), Path(path).parent)


def _replace(path, content, folder):
    draft = folder / f".{uuid.uuid4().hex}.partial"
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the name could outlive a power cut that the content does not
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _lock(handle):
    """Whether a lock that ends with the process was got; file systems without locks are trusted."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
