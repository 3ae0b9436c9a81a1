"""YAML whose values know where they stand, so that an error about one names the file, the line and the key."""

import dataclasses
import difflib
import math
import re
from pathlib import Path
from typing import Any

from ._require import require

__all__ = ["ConfigError", "Value", "from_python", "parse"]

# The numbers and words of YAML 1.2: 1e9 is a number and `no` is a string, unlike in YAML 1.1.
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}


class ConfigError(ValueError):
    """Something is wrong with a config; the message names the file, the line and the key."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A part of a config.

    Attributes
    ----------
    data : dict of str to Value, list of Value, or a number, string, bool or None
    path : str
        The key, with those around it: ``scene.psf.fwhm``; empty for the whole.
    file : str
    line : int or None
        Line of the key, from 1; None for what is not from a file.
    """

    data: Any
    path: str
    file: str
    line: int | None

    def error(self, message):
        """A `ConfigError` about this part."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ConfigError(f"{place}: {self.path}: {message}" if self.path else f"{place}: {message}")

    def wrong(self, expected):
        """A `ConfigError` for a value of the wrong kind."""
        return self.error(f"got {self.shown()}, expected {expected}")

    def shown(self):
        """The value in the words of an error message."""
        if isinstance(self.data, dict):
            return "a mapping"
        if isinstance(self.data, list):
            return f"a list of {len(self.data)}"
        return "nothing" if self.data is None else repr(self.data)

    def mapping(self, known=None, required=()):
        """The entries of a mapping.

        Parameters
        ----------
        known : collection of str, optional
            All keys that there may be.
        required : collection of str
            Those that must be there.

        Returns
        -------
        dict of str to Value

        Raises
        ------
        ConfigError
            For something else, an unknown key, or one that is missing.
        """
        if not isinstance(self.data, dict):
            raise self.wrong("a mapping")
        for key, value in self.data.items():
            if known is not None and key not in known:
                raise value.error(f"unknown key, {nearest(key, known)}")
        for key in required:
            if key not in self.data:
                raise self.error(f"the key {key!r} is missing")
        return self.data

    def items(self):
        """The entries of a list; a `ConfigError` for something else."""
        if not isinstance(self.data, list):
            raise self.wrong("a list")
        return self.data

    def number(self, low=-math.inf, high=math.inf, *, open_low=False):
        """A finite number in a range, as a float."""
        valid = isinstance(self.data, int | float) and not isinstance(self.data, bool) and math.isfinite(self.data)
        if not valid or not low <= self.data <= high or (open_low and self.data == low):
            raise self.wrong(f"a finite number{in_range(low, high, open_low)}")
        return float(self.data)

    def integer(self, low, high=2**31 - 1):
        """An integer in a range."""
        if isinstance(self.data, bool) or not isinstance(self.data, int) or not low <= self.data <= high:
            raise self.wrong(f"an integer{in_range(low, high)}")
        return self.data

    def string(self):
        """A string that is not empty."""
        if not isinstance(self.data, str) or not self.data:
            raise self.wrong("a string")
        return self.data

    def choice(self, allowed):
        """One of some strings."""
        if self.data not in allowed:
            hint = f"; {nearest(self.data, allowed)}" if isinstance(self.data, str) else ""
            raise self.wrong(f"one of {', '.join(allowed)}{hint if 'did you' in hint else ''}")
        return self.data

    def plain(self):
        """The value without its places: dicts, lists, numbers and strings; whole numbers as int."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return int(self.data) if isinstance(self.data, float) and self.data.is_integer() else self.data


def parse(text, file):
    """Read YAML.

    Parameters
    ----------
    text : str
    file : str
        What messages call it.

    Returns
    -------
    Value

    Raises
    ------
    ConfigError
        For what is no YAML, or has a key twice, or an anchor inside itself.
    """
    yaml = require("yaml")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        raise Value(None, "", file, mark.line + 1 if mark else None).error(f"not YAML: {what}") from None
    if node is None:
        raise Value(None, "", file, 1).error("the file is empty")
    return _convert(node, "", file, node.start_mark.line + 1, ())


def from_python(data, file="config", path=""):
    """The `Value` of dicts, lists, numbers and strings.

    Parameters
    ----------
    data
        numpy scalars and tuples are taken too.
    file : str
        What messages call it.

    Returns
    -------
    Value
    """
    if isinstance(data, dict):
        data = {str(k): from_python(v, file, join(path, k)) for k, v in data.items()}
    elif isinstance(data, list | tuple):
        data = [from_python(v, file, f"{path}[{i}]") for i, v in enumerate(data)]
    elif isinstance(data, Path):
        data = str(data)
    elif not isinstance(data, int | float | str | bool | None):
        if not hasattr(data, "item"):
            raise Value(data, path, file, None).wrong("a number, string, list or mapping")
        data = data.item()
    return Value(data, path, file, None)


def _convert(node, path, file, line, above):
    here = Value(None, path, file, line)
    if id(node) in above:
        raise here.error("an anchor that contains itself")
    above = (*above, id(node))
    if node.id == "scalar":
        return dataclasses.replace(here, data=_scalar(node))
    if node.id == "sequence":
        parts = [
            _convert(part, f"{path}[{i}]", file, part.start_mark.line + 1, above) for i, part in enumerate(node.value)
        ]
        return dataclasses.replace(here, data=parts)
    entries = {}
    for key_node, value_node in node.value:
        place = Value(None, path, file, key_node.start_mark.line + 1)
        if key_node.id != "scalar":
            raise place.error("a key that is not a word")
        key = key_node.value
        if key in entries:
            raise dataclasses.replace(place, path=join(path, key)).error(f"again, after line {entries[key].line}")
        entries[key] = _convert(value_node, join(path, key), file, place.line, above)
    return dataclasses.replace(here, data=entries)


def _scalar(node):
    text = node.value
    if node.style is not None:  # quoted
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.lower() in _SPECIAL:
        return _SPECIAL[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def join(path, key):
    """The path of an entry of a mapping."""
    return f"{path}.{key}" if path else str(key)


def nearest(word, known):
    """A question with the nearest of some names, or all of them."""
    close = difflib.get_close_matches(str(word), list(map(str, known)), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"


def in_range(low, high, open_low=False):
    """The words for a range."""
    above = f" above {low:g}" if open_low else f" of at least {low:g}"
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(high) or high == 2**31 - 1:
        return above
    return f" of at most {high:g}" if math.isinf(low) else f"{above} and at most {high:g}"
