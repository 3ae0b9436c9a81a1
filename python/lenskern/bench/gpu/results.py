"""The file of a run's records: saved after every case, and what need not be measured again."""

import hashlib
import json
import re
from pathlib import Path

import lenskern
from lenskern.bench import report

SOURCES = ("kernels", "python/lenskern")
# The figures of the ceilings depend on these alone.
OF_CEILINGS = ("ceilings.py", "device.cu", "programs.py", "race.py", "timing.cuh", "timing.py")
# What the figures of a part do not depend on: sources with one of these words in their paths.
FOREIGN = {
    "nnls": ("deflect", "macro", "convolve", "simulate", "poisson", "interop"),
    "deflect": ("nnls", "convolve", "simulate", "poisson", "interop"),
    "convolve": ("nnls", "deflect", "macro", "simulate", "poisson", "interop"),
    "simulate": ("nnls", "interop"),
}


def state(part, root):
    """Digest of the sources that a part's figures depend on.

    Parameters
    ----------
    part : str
    root : pathlib.Path
        Of the repository; where it is none, the installed package stands for all.

    Returns
    -------
    str
    """
    folders = [root / name for name in SOURCES]
    if not all(folder.is_dir() for folder in folders):
        root = Path(lenskern.__file__).parents[1]
        folders = [root / "lenskern"]
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        name = path.relative_to(root).as_posix()
        compiled = path.suffix == ".so" or "__pycache__" in path.parts
        foreign = any(word in name for word in FOREIGN.get(part, ()))
        if part == "ceilings":
            foreign = path.name not in OF_CEILINGS
        if path.is_file() and not (compiled or foreign):
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def file_name(device):
    """Name of the file for a device as `report.device` describes it, as in ``nvidia-h200.json``."""
    return re.sub(r"[^a-z0-9]+", "-", device["model"].lower()).strip("-") + ".json"


class Results:
    """Records of a device.

    Parameters
    ----------
    path : pathlib.Path
        Read if it is there.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.records = report.read(self.path) if self.path.exists() else []

    def has(self, part, case, state):
        """Whether a case was run for this state of the sources."""
        return any(r["state"] == state and r["status"] != "left out" for r in self.of(part, case))

    def of(self, part, case):
        """The records of a case."""
        return [r for r in self.records if (r["part"], r["case"]) == (part, case)]

    def put(self, part, case, records, state):
        """Replace the records of a case and save; a time that is replaced stays as ``previous_s`` of its successor."""
        before = {_key(r): r["median_s"] for r in self.of(part, case) if r["median_s"]}
        for r in records:
            r.update(part=part, case=case, state=state)
            r.setdefault("status", "measured")
            if r["median_s"] and _key(r) in before:
                r["previous_s"] = before[_key(r)]
        kept = [r for r in self.records if (r["part"], r["case"]) != (part, case)]
        self.records = kept + records
        self.save()

    def save(self):
        """Write the file at once, a record a line, in one step: a run may be cut short at any moment."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(report.finite(r), allow_nan=False) for r in self.records)
        unfinished = self.path.with_suffix(".part")
        unfinished.write_text(f"[\n{lines}\n]\n")
        unfinished.replace(self.path)


def _key(r):
    return r["system"], r["backend"], r["dtype"], r.get("tol"), r.get("program")
