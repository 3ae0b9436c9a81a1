"""The process that the cases run in: started when it is needed, ended when it is late, started anew when it is gone."""

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time

# Seconds that a process may take to import everything and find its device.
START = 120
# Seconds that the first run of a compiled program may take.
RUN = 30
# A case is tried again without the programs that took the process down, so many times.
RESTARTS = 4


class Lost(Exception):
    """The process ended or did not answer in time."""

    def __init__(self, reason, culprit=None):
        super().__init__(reason)
        self.reason, self.culprit = reason, culprit


class Supervisor:
    """Runs cases in a process of its own.

    Parameters
    ----------
    registry : str
        Module with a function ``cases(part, dry_run)``; see `worker`.
    log : file
        Gets what the process writes to stderr.
    environment : dict
        Variables that it gets besides those of this process.
    """

    def __init__(self, registry, log, environment):
        self._command = [sys.executable, "-m", "lenskern.bench.gpu.worker", registry]
        self._log, self._environment = log, environment
        self._process = self._answers = None
        self._fatal = {}

    def hello(self):
        """Start, if need be; returns ``device`` and ``versions``, a dict.

        Raises
        ------
        Lost
            Where it does not start.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=os.environ | self._environment,
                text=True,
            )
            self._answers = queue.SimpleQueue()
            threading.Thread(target=_forward, args=(self._process.stdout, self._answers), daemon=True).start()
            found = self._answer(time.monotonic() + START)
            if "error" in found:
                self.stop()
                raise Lost(found["error"])
            self.found = found
        return self.found

    def run(self, part, case, dry_run, limit, patience=1):
        """Run one case, again without the programs that take the process down.

        They are not tried either in the cases of the part whose names begin with the same word or size.

        Parameters
        ----------
        part, case : str
        dry_run : bool
        limit : float
            Seconds; what is late is ended.
        patience : float
            A program may run for so many times `RUN`.

        Returns
        -------
        tuple
            The records, and None or the reason why the case as a whole has failed.
        """
        fatal = self._fatal.setdefault((part, re.split("[,:]", case)[0]), {})
        lost = {name: f"not tried again: {reason}" for name, reason in fatal.items()}
        for _ in range(RESTARTS):
            try:
                self.hello()
                task = {"part": part, "case": case, "dry_run": dry_run, "lost": lost}
                return self._ask(task, limit, RUN * patience)
            except Lost as error:
                self.stop()
                if not error.culprit or error.culprit in lost:
                    return [], error.reason
                lost[error.culprit] = fatal[error.culprit] = error.reason
        return [], "; ".join(f"{name}: {reason}" for name, reason in lost.items())

    def _ask(self, task, limit, run_limit):
        end = deadline = time.monotonic() + limit
        doing = None
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Lost("the process had ended") from None
        while True:
            try:
                answer = self._answer(deadline)
            except Lost as error:
                raise Lost(error.reason, doing) from None
            if "doing" in answer:
                doing = answer["doing"]
                deadline = min(end, time.monotonic() + run_limit) if doing else end
            elif "records" in answer:
                return answer["records"], None
            elif "broken" in answer:
                raise Lost(answer["error"], answer["broken"])
            else:
                return [], answer["error"]

    def _answer(self, deadline):
        try:
            line = self._answers.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise Lost("no answer within the time limit; it was ended") from None
        if line is None:
            code = self._process.wait()
            raise Lost(f"the process ended with {'signal' if code < 0 else 'exit code'} {abs(code)}")
        return json.loads(line)

    def stop(self):
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process = None


def _forward(stream, answers):
    for line in stream:
        answers.put(line)
    answers.put(None)
