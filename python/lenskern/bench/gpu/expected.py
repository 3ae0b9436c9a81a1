"""What the cost model expects of an H200, and what each figure is to reach: one table, to judge a run at once.

The model is in docs/gpu.md and, for inversions, in docs/nnls.md. Nothing of this has been measured.
"""

from dataclasses import dataclass

DEVICE = "H200"


@dataclass(frozen=True)
class Expectation:
    """What one figure should be.

    Parameters
    ----------
    low, high : float
        Range of the expected time in seconds, of a whole call.
    why : str
    """

    low: float
    high: float
    why: str


# By part, case, and backend of lenskern; float64 unless a dtype is named.
TABLE = {
    ("nnls", "K = 40, batch 1024", "cuda"): Expectation(
        1.5e-4, 4e-4, "8 blocks a multiprocessor, all in shared memory"
    ),
    ("nnls", "K = 1261, batch 1", "cuda"): Expectation(1e-3, 3e-3, "9 float32 factorisations, latency of the panels"),
    ("nnls", "K = 1261, batch 3", "cuda"): Expectation(1e-3, 3e-3, "as one lane: each has its own multiprocessors"),
    ("nnls", "K = 1261, batch 16", "cuda"): Expectation(4e-3, 1e-2, "two waves of lanes"),
    ("nnls", "K = 1261, batch 64", "cuda"): Expectation(1.6e-2, 4e-2, "0.25 to 0.5 ms a lane"),
    ("deflect", "plane: 1000 haloes, 100x100 rays", "cuda"): Expectation(8e-5, 2e-4, "1e11 pairs/s"),
    ("deflect", "plane: 1000 haloes, 400x400 rays", "cuda"): Expectation(1.4e-3, 2.5e-3, "1e11 pairs/s"),
    ("deflect", "batch: 64 x 1000 haloes, 100x100 rays", "cuda"): Expectation(5e-3, 1e-2, "1e11 pairs/s"),
    ("deflect", "batch: 1024 x 1000 haloes, 100x100 rays", "cuda"): Expectation(8e-2, 1.6e-1, "1e11 pairs/s"),
    ("simulate", "substructure, batch 1024", "cuda", "float32"): Expectation(0.2, 1.0, "the far field, float32"),
}

# Datasheet or model, in the units of the records: flop/s, bytes/s, seconds a step.
CEILINGS = {
    ("cuda", "fma", "float64"): ("flops", 3.4e13),
    ("cuda", "fma", "float32"): ("flops", 6.7e13),
    ("cublas", "gemm", "float64"): ("flops", 6.7e13),
    ("cublas", "gemm", "float32"): ("flops", 6.7e13),
    ("cublas", "gemm, TF32", "float32"): ("flops", 4.9e14),
    ("xla", "copy", "float32"): ("bytes_per_s", 4.8e12),
    ("xla", "kernel", "float32"): ("step_s", 2e-6),
    ("xla", "loop step", "float32"): ("step_s", 2e-5),
}


def expectation(record):
    """The `Expectation` of a record, None where there is none."""
    if record["system"] != "lenskern" or record.get("tol") not in (None, 0.0):
        return None
    key = (record["part"], record["case"], record["backend"])
    return TABLE.get((*key, record["dtype"]), TABLE.get(key) if record["dtype"] == "float64" else None)


def ceiling(record):
    """(field, expected value) of a record of the ceilings, None where there is none."""
    return CEILINGS.get((record["system"], record["backend"], record["dtype"]))
