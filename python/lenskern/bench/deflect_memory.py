"""A process that runs one system on one problem once, for its peak memory; see `lenskern.bench.deflect.child`."""

import json
import sys
import time

import jax
import numpy as np

from lenskern.bench import deflect_oracle, deflect_systems, memory


def main(argument):
    """Print the peak memory and the time as JSON, and of a batch the error of a few rays.

    Parameters
    ----------
    argument : str
        JSON of the fields of a `deflect_systems.Case` and the key of a `deflect_systems.System`.
    """
    fields, key = json.loads(argument)
    case = deflect_systems.Case(**fields)
    (system,) = [system for system in deflect_systems.systems() if system.key == key]
    with jax.enable_x64(True):
        call = case.call(system.load())
        if system.name != "lenskern":
            call()  # compiles
        start = time.perf_counter()
        result, growth = memory.peak_growth(call)
        found = {"peak_bytes": growth, "seconds": time.perf_counter() - start}
        if case.kind == "batch":
            found["oracle_err"] = _batch_error(case, np.asarray(result))
        print(json.dumps(found))


def _batch_error(case, result):
    """Largest error of a few rays in the first and the last lane, against 40 digits."""
    rays = np.linspace(0, len(case.rays) - 1, 5).astype(int)
    lanes = (0, case.batch - 1)
    wanted = np.stack([deflect_oracle.plane(case.problem[lane], case.rays[rays]) for lane in lanes])
    return float(np.abs(result[np.ix_(lanes, rays)] - wanted).max())


if __name__ == "__main__":
    main(sys.argv[1])
