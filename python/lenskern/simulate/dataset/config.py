"""The config of a data set: YAML to frozen dataclasses."""

import base64
import dataclasses
import hashlib
import importlib
import json
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path

from .document import ConfigError, Value, from_python, parse
from .files import Files
from .model import build
from .priors import PRIORS, Constant, Prior, name_code
from .recipe import Recipe, deterministic
from .schema import Model, read_model
from .store import DataSet

__all__ = ["Config", "ConfigError", "differences", "flat", "load"]

_RUN = ("seed", "dtype", "batch", "chunk", "theta")
_MODEL = ("scene", "cosmology", "lens", "source", "subhalos", "line_of_sight")


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of the user's, in place of a scene and a lens."""

    function: Callable

    @classmethod
    def load(cls, value):
        """The function that a config names."""
        module, _, name = value.string().partition(":")
        if not name:
            raise value.wrong("MODULE:NAME")
        try:
            return cls(getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError) as error:
            raise value.error(f"cannot be imported: {error}") from None


@dataclasses.dataclass(frozen=True, eq=False)
class Config:
    """A config that has been read and checked; see `load`.

    Attributes
    ----------
    seed : int
    dtype : str
        "float32" or "float64".
    batch : int
        Images that a device makes at a time.
    chunk : int
        Images in a chunk of the set.
    priors : dict of str to Prior
        By the names of the parameters.
    model : Model or Function
    document : Value
        The whole, with its places.
    text : str
        As it was read.
    files : dict of str to bytes
        The files that it names.
    """

    seed: int
    dtype: str
    batch: int
    chunk: int
    priors: dict[str, Prior]
    model: Model | Function
    document: Value
    text: str
    files: dict[str, bytes]

    @property
    def settings(self):
        """What two sets must share to have the same images, besides the seed."""
        plain = self.document.plain()
        plain.pop("seed", None)
        defaults = {"dtype": self.dtype, "batch": self.batch, "chunk": self.chunk}
        files = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return plain | defaults | ({"files": files} if files else {})

    @property
    def fingerprint(self):
        """SHA-256 of the settings and the seed."""
        return hashlib.sha256(json.dumps([self.settings, self.seed], sort_keys=True).encode()).hexdigest()

    def recipe(self):
        """What the images are made by.

        Returns
        -------
        Recipe
        """
        return _recipe(self)

    @cached_property
    def _identity(self):
        return self.fingerprint, self.model if isinstance(self.model, Function) else None

    def __eq__(self, other):
        return isinstance(other, Config) and self._identity == other._identity

    def __hash__(self):
        return hash(self._identity)

    def attributes(self):
        """What is stored with a set, from which `load` makes the same config again."""
        return {
            "config": self.text,
            "file": Path(self.document.file).name,
            "files": {name: base64.b64encode(content).decode() for name, content in self.files.items()},
            "seed": self.seed,
            "parameters": list(self.priors),
            "settings": self.settings,
            "fingerprint": self.fingerprint,
            "runs": [],
        }


@lru_cache(maxsize=4)
def _recipe(config):
    """Kept, so that a set that is made longer compiles nothing anew."""
    image = config.model.function if isinstance(config.model, Function) else None
    if image is None:
        with deterministic(config.dtype):
            image = build(config.model, config.dtype)
    return Recipe(config.priors, image, config.seed, config.dtype, config.batch)


def load(config, *, seed=None):
    """Read a config.

    Parameters
    ----------
    config : path, dict, Config or DataSet
        A YAML file, what it would contain, or a data set, whose config is taken.
    seed : int, optional
        In place of that of the config.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        For a bad config; it names the file, the line and the key.
    """
    if isinstance(config, Config):
        return config if seed is None else dataclasses.replace(config, seed=_seed(seed))
    if isinstance(config, dict):
        return _read(from_python(config), json.dumps(from_python(config).plain(), indent=2), Path(), {}, seed)
    if isinstance(config, str | Path) and Path(config).is_dir():
        config = DataSet(config)
    if isinstance(config, DataSet):
        stored = config.attributes
        return from_attributes(stored, seed)
    if not isinstance(config, str | Path):
        raise ValueError(f"config: got {type(config).__name__}, expected a path, a dict, a Config or a DataSet")
    path = Path(config)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"config: there is no file {str(path)!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {str(path)!r} cannot be read: {error}") from None
    return _read(parse(text, str(path)), text, path.parent, None, seed)


def from_attributes(stored, seed=None):
    """The config that was stored by `Config.attributes`."""
    files = {name: base64.b64decode(content) for name, content in stored["files"].items()}
    seed = stored["seed"] if seed is None else seed
    return _read(parse(stored["config"], stored["file"]), stored["config"], None, files, seed)


def differences(data, config):
    """How the config of a set differs from another.

    Parameters
    ----------
    data : DataSet
    config : Config

    Returns
    -------
    list of str
    """
    there = dict(flat(data.settings)) | {"seed": data.attributes["seed"]}
    here = dict(flat(config.settings)) | {"seed": config.seed}
    return [
        f"{name} is {_shown(there, name)} there and {_shown(here, name)} here"
        for name in sorted(there.keys() | here.keys())
        if (name in there, there.get(name)) != (name in here, here.get(name))
    ]


def flat(settings, path=""):
    """Pairs of a path and a number or string, for all that is inside of dicts and lists."""
    entries = settings.items() if isinstance(settings, dict) else enumerate(settings)
    for key, value in entries:
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict | list) and value:
            yield from flat(value, name)
        else:
            yield name, value


def _shown(values, name):
    return repr(values[name]) if name in values else "absent"


def _read(document, text, folder, files, seed):
    """The config of a document; its files from a folder, or those that are given."""
    entries = document.mapping((*_RUN, *_MODEL, "function"), required=("theta",))
    priors = {name: _prior(value) for name, value in entries["theta"].mapping().items()}
    codes = {}
    for name in priors:
        if codes.setdefault(name_code(name), name) != name:
            raise entries["theta"].data[name].error(f"has the code of {codes[name_code(name)]!r}; rename one")
    batch = entries["batch"].integer(1, 2**20) if "batch" in entries else 64
    files = Files(folder, files)
    if "function" in entries:
        for name in _MODEL:
            if name in entries:
                raise entries[name].error("got it together with function, expected one of them")
        model = Function.load(entries["function"])
    else:
        if "scene" not in entries:
            raise document.error("the key 'scene' is missing, or 'function'")
        model = read_model(entries, priors, files.array)
    found = entries["seed"].integer(0, 2**32 - 1) if "seed" in entries else 0
    return Config(
        found if seed is None else _seed(seed),
        entries["dtype"].choice(("float32", "float64")) if "dtype" in entries else "float32",
        batch,
        _chunk(entries, batch),
        priors,
        model,
        document,
        text,
        files.contents,
    )


def _chunk(entries, batch):
    if "chunk" not in entries:
        return batch * max(1, 256 // batch)
    chunk = entries["chunk"].integer(1, 2**24)
    if chunk % batch:
        raise entries["chunk"].wrong(f"a multiple of batch, {batch}")
    return chunk


def _seed(seed):
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed!r}, expected an integer from 0 to 2**32 - 1")
    return seed


def _prior(value):
    """A number, or a mapping from the name of a prior to its arguments, as a list or by name."""
    if not isinstance(value.data, dict):
        if not isinstance(value.data, int | float):
            raise value.wrong("a number or a prior")
        return Constant(value.number())
    entries = value.mapping(PRIORS)
    if len(entries) != 1:
        raise value.error(f"got {len(entries)} priors, expected one of {', '.join(PRIORS)}")
    ((name, arguments),) = entries.items()
    fields = dataclasses.fields(PRIORS[name])
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    if isinstance(arguments.data, dict):
        given = arguments.mapping([field.name for field in fields], required)
    elif name in ("choice", "constant"):
        given = {required[0]: arguments}
    elif not isinstance(arguments.data, list):
        raise arguments.wrong("a list or a mapping")
    else:
        given = dict(zip([field.name for field in fields], arguments.data, strict=False))
        if not len(required) <= len(arguments.data) <= len(fields):
            raise arguments.error(f"got {len(arguments.data)} numbers, expected {', '.join(required)}")
    plain = {key: x.plain() for key, x in given.items()}
    try:
        return PRIORS[name](**plain)
    except ValueError as error:
        where, _, message = str(error).partition(": ")
        raise given.get(where, arguments).error(message) from None
