"""``python -m lenskern.bench.gpu.worker REGISTRY``: runs cases that it is told of on stdin, a line of JSON each.

It answers in lines of JSON on stdout: what it is doing, and then the records of a case or the error that it ended
with. A program that takes the device down ends the process; `supervisor` starts another.
"""

import importlib
import json
import os
import sys
import traceback

import jax

from lenskern.bench import report
from lenskern.bench.gpu import race


def main(registry):
    """Serve until stdin ends; returns the exit code."""
    # Whatever else writes to stdout, the compiler's warnings say, is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(**answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    jax.config.update("jax_enable_x64", True)
    try:
        send(device=report.device(), versions=report.versions())
    except Exception as error:
        send(error=race.explain(error)[1])
        return 1
    parts = importlib.import_module(registry)
    for line in sys.stdin:
        task = json.loads(line)
        guard = race.Guard(lost=task["lost"], doing=lambda name: send(doing=name))
        case = f"{task['part']}, {task['case']}"
        print(f"--- {case}", file=sys.stderr, flush=True)
        try:
            records = parts.cases(task["part"], task["dry_run"])[task["case"]](guard)
            send(records=report.finite(records))
        except race.Broken as broken:
            send(broken=broken.system, error=broken.reason)
            return 1
        except Exception as error:
            traceback.print_exc()
            reason = race.explain(error)[1]
            try:
                guard.probe(case, reason)
            except race.Broken:
                send(broken="", error=reason)
                return 1
            send(error=reason)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
