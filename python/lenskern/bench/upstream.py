"""``python -m lenskern.bench upstream DIR``: the tests of PyAutoLens, with and without lenskern registered.

DIR holds clones of PyAutoArray, PyAutoGalaxy, PyAutoLens and autolens_workspace_test from github.com/PyAutoLabs. Of the
first three only the folders of tests are used, with the packages that are installed; everything runs on copies.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lenskern.bench import report
from lenskern.bench.nnls import choices
from lenskern.interop.probe.api import FLAG

INSTALL = "pip install 'lenskern[autolens]'"
WORKSPACE = "autolens_workspace_test"
SYSTEMS = ("autoarray", "lenskern")


@dataclass(frozen=True)
class Tests:
    """A group of tests that pytest runs: folders and files inside a package of tests of a repository."""

    repository: str
    package: str
    paths: tuple

    def run(self, clones, system, limit):
        """Outcomes by test: a dict of name -> (outcome, message)."""
        with tempfile.TemporaryDirectory() as folder:
            # Beside the tests the package itself would be taken from the clone.
            shutil.copytree(clones / self.repository / self.package, Path(folder) / self.package)
            found = Path(folder) / "outcomes.xml"
            paths = [f"{self.package}/{path}" for path in self.paths]
            options = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", f"--junitxml={found}"]
            command = [sys.executable, "-m", "pytest", *options, *(p for p in paths if (Path(folder) / p).exists())]
            failure = _run(command, folder, _environment(system), limit)
            if not found.exists():
                return {self.package: ("failed", failure or "pytest wrote no outcomes")}
            return dict(_outcome(case, folder) for case in ElementTree.parse(found).iter("testcase"))


@dataclass(frozen=True)
class Scripts:
    """A group of scripts of the workspace with assertions in them, each run by itself."""

    folder: str
    names: tuple

    def run(self, clones, system, limit):
        """Outcomes by script: a dict of name -> (outcome, message)."""
        with tempfile.TemporaryDirectory() as folder:
            workspace = Path(folder) / WORKSPACE
            shutil.copytree(clones / WORKSPACE, workspace, ignore=shutil.ignore_patterns(".git", "output"))
            return {f"{self.folder}/{name}": self._run(name, workspace, system, limit) for name in self.names}

    def _run(self, name, workspace, system, limit):
        script = f"scripts/{self.folder}/{name}.py"
        if not (workspace / script).exists():
            return "skipped", "not in this version of the workspace"
        # They import each other from the root of the workspace.
        environment = _environment(system) | {"PYTHONPATH": str(workspace)}
        failure = _run([sys.executable, script], workspace, environment, limit)
        return ("failed", failure) if failure else ("passed", "")


# What touches the solution of inversions, dark profiles and tracing through several planes.
GROUPS = {
    "autoarray": Tests("PyAutoArray", "test_autoarray", ("inversion",)),
    "autogalaxy": Tests(
        "PyAutoGalaxy",
        "test_autogalaxy",
        ("profiles/mass", "galaxy/test_to_inversion.py", "imaging", "interferometer", "analysis"),
    ),
    "autolens": Tests("PyAutoLens", "test_autolens", ("lens", "imaging", "interferometer", "analysis")),
    "assertions": Scripts("jax_assertions", ("nnls", "fit_imaging_sparse_operator", "sparse_operators", "pytree")),
    "gradients": Scripts("jax_grad", ("imaging_mge",)),
    "imaging": Scripts(
        "jax_likelihood_functions/imaging",
        ("mge", "mge_group", "rectangular", "rectangular_mge", "rectangular_dspl", "delaunay", "delaunay_mge"),
    ),
    "interferometer": Scripts(
        "jax_likelihood_functions/interferometer", ("mge", "rectangular", "rectangular_mge", "delaunay")
    ),
    "tracing": Scripts(".", ("tracer_jax", "tracer_multiplane")),
}


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("clones", metavar="DIR", type=Path, help="folder with the clones")
    parser.add_argument("--groups", default=",".join(GROUPS), help="separated by commas")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for a script, or for a group of tests")
    parser.add_argument("--json", metavar="FILE", help="write the records here, beside those of other groups")


def run(arguments):
    """Run the tests and print what came of them; returns the exit code, 1 where lenskern lets one fail."""
    groups = choices("--groups", arguments.groups, GROUPS)
    needed = {getattr(GROUPS[name], "repository", WORKSPACE) for name in groups}
    missing = [repository for repository in sorted(needed) if not (arguments.clones / repository).is_dir()]
    if missing:
        where = f"git clone https://github.com/PyAutoLabs/{missing[0]} {arguments.clones / missing[0]}"
        print(f"{arguments.clones}: expected a clone of {', '.join(missing)}: {where}", file=sys.stderr)
        return 2

    records = measure(arguments.clones, groups, arguments.limit, partial(report.update, arguments.json))
    print(text(records))
    return int(any(_lost(pair) for pair in _pairs(records).values()))


def measure(clones, groups, limit=900.0, keep=lambda records: None):
    """Run groups of tests with autoarray's own solver, then with lenskern registered.

    Parameters
    ----------
    clones : pathlib.Path
        The folder with the clones.
    groups : sequence of str
        Of `GROUPS`.
    limit : float
        Seconds after which a script, or the tests of a group, are stopped and count as failed.
    keep : callable
        Called with all records so far after each group.

    Returns
    -------
    list of dict
        See `report.record`; one for each group and system, with the number of tests that passed, and under "failures"
        and "skips" dicts of those that did not, by name, with the reason.
    """
    try:
        import autolens  # noqa: F401
    except ImportError:
        return [report.absent("upstream", "autolens", INSTALL)]
    records = []
    with report.progress(len(groups) * len(SYSTEMS), "upstream") as tick:
        for name in groups:
            for system in SYSTEMS:
                found = GROUPS[name].run(clones, system, limit)
                outcomes = {
                    kind: {test: why for test, (outcome, why) in found.items() if outcome == kind}
                    for kind in ("passed", "failed", "skipped")
                }
                records.append(
                    report.record(
                        benchmark="upstream",
                        case=name,
                        system=system,
                        passed=len(outcomes["passed"]),
                        failures=outcomes["failed"],
                        skips=outcomes["skipped"],
                    )
                )
                tick(name)
            keep(records)
    return records


def _run(command, folder, environment, limit):
    """Run a command in a folder; returns why it failed, or None."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, timeout=limit, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return f"did not end in {limit:g} s"
    return _reason(done.stderr, folder) if done.returncode else None


def _environment(system):
    """Environment of a child: that of this process, with lenskern registered or not."""
    environment = {key: value for key, value in os.environ.items() if key not in ("LENSKERN_AUTOLENS", "PYTHONPATH")}
    # Without this flag, which LENSKERN_AUTOLENS sets too, a batch of likelihoods may wait for ever.
    environment |= {"MPLBACKEND": "Agg", "XLA_FLAGS": FLAG}
    return environment | ({"LENSKERN_AUTOLENS": "1"} if system == "lenskern" else {})


def _outcome(case, folder):
    """Name of a test of a JUnit file, with its outcome and the reason."""
    name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
    for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        part = case.find(kind)
        if part is not None:
            message = part.get("message") or ""
            return name, (outcome, _reason(part.text or "" if message == "collection failure" else message, folder))
    return name, ("passed", "")


def _reason(message, folder):
    """What a traceback or a message ends or begins with, in a line without the folder of the run."""
    lines = [line.strip().removeprefix("E   ") for line in message.splitlines() if line.strip()] or ["no message"]
    names = [line.partition(":")[0].rpartition(".")[2] for line in lines]
    last = max((at for at, name in enumerate(names) if name.endswith(("Error", "Exception"))), default=0)
    # NumPy's begin with an empty line, and say what differs in the next.
    end = None if lines[last].endswith("Error:") else last + 1
    line = " ".join(lines[last:end]).replace(f"{folder}/", "")
    return line if len(line) <= 160 else line[:157] + "..."


def _pairs(records):
    """By group: its records by system."""
    pairs = {}
    for record in records:
        if not record.get("absent"):
            pairs.setdefault(record["case"], {})[record["system"]] = record
    return pairs


def _lost(pair):
    """Tests that fail with lenskern alone."""
    return sorted(pair["lenskern"]["failures"].keys() - pair["autoarray"]["failures"].keys())


def text(records):
    """The tables for the terminal."""
    pairs = _pairs(records)
    rows, details = [], []
    for case, pair in pairs.items():
        without, registered = pair["autoarray"], pair["lenskern"]
        lost, gained = _lost(pair), sorted(without["failures"].keys() - registered["failures"].keys())
        both = sorted(without["failures"].keys() & registered["failures"].keys())
        skipped = len(registered["skips"])
        rows.append([case, without["passed"], registered["passed"], len(lost), len(gained), len(both), skipped])
        details += [f"{case}: fails with lenskern only: {name}: {registered['failures'][name]}" for name in lost]
        details += [f"{case}: fails without lenskern only: {name}: {without['failures'][name]}" for name in gained]
        details += [f"{case}: fails with both: {name}: {registered['failures'][name]}" for name in both]
    columns = ["<tests", "pass without", "pass with", "fail with only", "fail without only", "fail with both", "skip"]
    parts = [report.table(columns, rows)] if rows else []
    if details:
        parts.append("\n".join(details))
    parts += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n\n".join(parts)
