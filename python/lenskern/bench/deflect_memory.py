"""A process that runs one system on one problem once, for its peak memory; see `lenskern.bench.deflect.child`."""

import json
import sys
import time

import jax

from lenskern.bench import deflect_systems, memory


def main(argument):
    """Print the peak memory and the time as JSON.

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
        _, growth = memory.peak_growth(call)
        print(json.dumps({"peak_bytes": growth, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1])
