"""What the cost models expect of an H200: one table, to judge a run at once. Nothing of it has been measured.

The models are in the documentation: nnls.md, deflect.md, simulate.md and convolve.md.
"""

from dataclasses import dataclass

DEVICE = "H200"


@dataclass(frozen=True)
class Expectation:
    """Range of the expected time of a call, in seconds."""

    low: float
    high: float


# Pairs of a ray and a halo (a truncated NFW) in a second: at 70 % of what the issue of instructions allows, and at all.
_PAIRS = {"float64": (2.1e10, 3e10), "float32": (4.5e10, 6.5e10)}
# Microseconds of one image of a large batch: the fused kernel, and cuFFT; within a factor of 1.5.
_CONVOLVED = {32: (0.04, 0.06), 64: (0.19, 0.19), 100: (0.75, 0.42), 128: (1.1, 0.62), 256: (7.3, 2.2)}

# By part, case, backend of lenskern and dtype.
TABLE = {
    ("nnls", "K = 40, batch 1024", "cuda", "float64"): Expectation(1.5e-4, 3e-4),
    ("nnls", "K = 1261, batch 1", "cuda", "float64"): Expectation(1e-3, 3e-3),
    ("nnls", "K = 1261, batch 3", "cuda", "float64"): Expectation(1e-3, 3e-3),
    ("nnls", "K = 1261, batch 64", "cuda", "float64"): Expectation(1.4e-2, 3.2e-2),
    ("simulate", "substructure, batch 1024", "cuda", "float32"): Expectation(0.7, 1.0),
}
for _case, _count in {
    "plane: 1000 haloes, 100x100 rays": 1e7,
    "plane: 1000 haloes, 400x400 rays": 1.6e8,
    "batch: 64 x 1000 haloes, 100x100 rays": 6.4e8,
    "batch: 1024 x 1000 haloes, 100x100 rays": 1.024e10,
}.items():
    for _dtype, (_slow, _fast) in _PAIRS.items():
        TABLE["deflect", _case, "cuda", _dtype] = Expectation(_count / _fast, _count / _slow)
for _side, _times in _CONVOLVED.items():
    for _backend, _time in zip(("pallas", "reference"), _times, strict=True):
        _seconds = 1024e-6 * _time
        _key = ("convolve", f"{_side}x{_side}, batch 1024", _backend, "float64")
        TABLE[_key] = Expectation(_seconds / 1.5, 1.5 * _seconds)

# Of a datasheet, or usual, in the units of the records: flop/s, bytes/s, seconds a step.
CEILINGS = {
    ("cuda", "fma", "float64"): ("flops", 3.4e13),
    ("cuda", "fma", "float32"): ("flops", 6.7e13),
    ("cublas", "gemm", "float64"): ("flops", 6.7e13),
    ("cublas", "gemm", "float32"): ("flops", 6.7e13),
    ("cublas", "gemm, TF32", "float32"): ("flops", 4.9e14),
    ("xla", "copy", "float32"): ("bytes_per_s", 4.8e12),
    ("xla", "kernel", "float32"): ("step_s", 2e-6),
    ("xla", "loop step", "float32"): ("step_s", 2e-5),
    # Seconds of one on a multiprocessor.
    ("lenskern", "products of tiles, float32 on tensor cores", "float32"): ("step_s", 1e-6),
    ("lenskern", "products of tiles, float32 by threads", "float32"): ("step_s", 1.7e-6),
}


def expectation(record):
    """The `Expectation` of a record, None where there is none: sums over haloes have one where they are direct."""
    if record["system"] != "lenskern" or record.get("tol") not in (None, 0.0):
        return None
    if record["part"] == "deflect" and record["tol"] is None:
        return None
    return TABLE.get((record["part"], record["case"], record["backend"], record["dtype"]))


def ceiling(record):
    """(field, expected value) of a record of the ceilings or of a tile, None where there is none."""
    return CEILINGS.get((record["system"], record.get("program") or record["backend"], record["dtype"]))
