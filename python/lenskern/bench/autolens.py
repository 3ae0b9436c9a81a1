"""``python -m lenskern.bench autolens``: whole likelihoods of PyAutoLens, with its own solver and with lenskern's."""

import contextlib
import os
import time
import warnings
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lenskern.bench import autolens_lenses as lenses
from lenskern.bench import report, timing

INSTALL = "pip install 'lenskern[autolens]'"
# Seconds of measured runs after which a call is not run again.
LIMIT = 60.0


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here; cases that it has are not repeated")
    parser.add_argument("--cases", default=",".join(lenses.CASES), help="separated by commas (default: all)")
    parser.add_argument("--batch", type=int, default=3, metavar="N", help="lanes of the vmapped likelihood")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each system, at least 5")
    parser.add_argument("--quick", action="store_true", help="small data and models, for a test")
    parser.add_argument("--no-gradients", action="store_true", help="leave out the gradients, which compile for long")


def run(arguments):
    """Measure and print; returns the exit code."""
    chosen = [case.strip() for case in arguments.cases.split(",")]
    for case in chosen:
        if case not in lenses.CASES:
            raise SystemExit(f"--cases: got {case!r}, expected some of {', '.join(lenses.CASES)}")
    if arguments.batch < 2:
        raise SystemExit(f"--batch: got {arguments.batch}, expected at least 2")
    records = report.read(arguments.json) if arguments.json and Path(arguments.json).exists() else []
    single_threaded_pool()
    try:
        import autolens  # noqa: F401
    except ImportError:
        records = [report.absent("autolens", "autolens", INSTALL)]
        chosen = []
    size = lenses.QUICK if arguments.quick else lenses.PRODUCTION
    with jax.enable_x64(True):
        for case in chosen:
            if any(r.get("case") == case and r.get("quick") == arguments.quick for r in records):
                print(f"{case}: in {arguments.json} already")
                continue
            found = measure(case, size, arguments.batch, arguments.runs, gradients=not arguments.no_gradients)
            records += [record | {"quick": arguments.quick} for record in found]
            report.write(arguments.json, records)
    print(text(records))
    return 0


def single_threaded_pool():
    """Keep XLA from deadlocking on the CPU, unless XLA_FLAGS says otherwise. To be called before JAX computes.

    Its Fourier transforms run in a pool of threads and wait for pieces of their own in the same pool: as many of them
    as there are threads wait for ever.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "--xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()


def measure(case, size=lenses.PRODUCTION, batch=3, runs=5, gradients=True, rest=0.3):
    """Measure one case: lenskern beside autolens's solver on JAX (jaxnnls) and its active-set search on NumPy.

    Parameters
    ----------
    case : str
        Of `autolens_lenses.CASES`.
    size : autolens_lenses.Size
    batch : int
    runs : int
        At least 5.
    gradients : bool
        Whether to measure them too, one parameter vector at a time.
    rest : float
        As for `timing.alternate`.

    Returns
    -------
    list of dict
        See `report.record`; `evidence` is the log evidence of each lane, `evidence_err` the largest relative difference
        from NumPy's, and `pipeline_err` that of the JAX pipeline with NumPy's own solutions.
    """
    from lenskern.interop import autoarray

    autoarray.unregister()  # where LENSKERN_AUTOLENS is set
    lens = lenses.lens(case, size)
    parameters = lens.parameters(batch)
    fits = [_numpy_fit(lens, vector) for vector in parameters]
    exact = np.array([fit.figure_of_merit for fit in fits])
    solutions = [_solved_part(fit.inversion) for fit in fits]
    pipeline = _with_solutions(lens, parameters, solutions)

    programs = {"lenskern": _Program(lens), "jaxnnls": _Program(lens)}
    vectors = jnp.asarray(parameters)
    calls, compiled, values = {}, {}, {}
    for system, program in programs.items():
        for lanes, kind, argument in ((1, "scalar", vectors[0]), (batch, "batched", vectors)):
            start = time.perf_counter()
            values[system, lanes] = np.atleast_1d(program.call(system, kind, argument))
            compiled[system, lanes] = time.perf_counter() - start
            calls[system, lanes] = partial(program.call, system, kind, argument)
    turns = iter(range(10**9))
    calls["numpy", 1] = lambda: _numpy_fit(lens, parameters[next(turns) % batch]).figure_of_merit
    values["numpy", 1] = exact[:1]
    times = timing.alternate(calls, runs, rest=rest, limit=LIMIT)

    slopes = {system: _gradient(programs[system], system, vectors[0]) for system in programs} if gradients else {}
    records = []
    for (system, lanes), timed in times.items():
        slope = slopes.get(system) if lanes == 1 else None
        records.append(
            report.record(
                benchmark="autolens",
                case=case,
                system="autolens on NumPy" if system == "numpy" else system,
                backend="numpy" if system == "numpy" else "jax",
                dtype="float64",
                batch=lanes,
                K=len(solutions[0]),
                data=len(lens.dataset.data),
                median_s=timed.median,
                min_s=timed.minimum,
                runs=len(timed.seconds),
                compile_s=compiled.get((system, lanes)),
                evidence=values[system, lanes].tolist(),
                evidence_err=_relative(values[system, lanes], exact[:lanes]),
                pipeline_err=_relative(pipeline, exact),
                gradient=None if slope is None else slope["gradient"],
                gradient_finite=None if slope is None else bool(np.isfinite(slope["gradient"]).all()),
                gradient_s=None if slope is None else slope["seconds"],
                xla_flags=os.environ.get("XLA_FLAGS"),
            )
        )
    return records


class _Program:
    """The compiled likelihoods of one lens, as a search makes them; each is traced with the solver asked for."""

    def __init__(self, lens):
        from autofit.non_linear.fitness import Fitness

        self._fitness = Fitness(
            model=lens.model, analysis=lens.analysis(), fom_is_log_likelihood=True, resample_figure_of_merit=-1e99
        )
        self._traced = set()

    def call(self, system, kind, argument):
        from lenskern.interop import autoarray

        if kind in self._traced:
            return jax.block_until_ready(self._fitness.objective(kind)(argument))
        self._traced.add(kind)
        solver = autoarray.registered() if system == "lenskern" else contextlib.nullcontext()
        # Every program traces its own, so that none gets the other's solver.
        with warnings.catch_warnings(action="ignore"), solver:
            return jax.block_until_ready(self._fitness.objective(kind)(argument))


def _gradient(program, system, vector):
    call = partial(program.call, system, "value_and_grad", vector)
    gradient = np.asarray(call()[1])
    return {"gradient": gradient.tolist(), "seconds": timing.shortest(call, runs=2)[1]}


def _numpy_fit(lens, vector):
    instance = lens.model.instance_from_vector([float(number) for number in vector])
    return lens.analysis(use_jax=False).fit_from(instance)


def _solved_part(inversion):
    """The solution without the entries that are held at zero."""
    kept = inversion.solve_ids_to_keep
    return np.asarray(inversion.reconstruction if kept is None else inversion.reconstruction[kept])


def _with_solutions(lens, parameters, solutions):
    """Log evidences of the JAX pipeline with given solutions of the inversion in place of a solver's."""
    from autoarray.inversion.inversion import inversion_util

    analysis = lens.analysis()

    def evidence(vector, x):
        own = inversion_util.reconstruction_positive_only_from
        inversion_util.reconstruction_positive_only_from = lambda **_: x
        try:
            instance = lens.model.instance_from_vector(vector, ignore_assertions=True, xp=jnp)
            return analysis.log_likelihood_function(instance)
        finally:
            inversion_util.reconstruction_positive_only_from = own

    from autofit.jax.pytrees import enable_pytrees, register_model

    enable_pytrees()
    register_model(lens.model)
    compiled = jax.jit(evidence)
    return np.array([float(compiled(p, x)) for p, x in zip(jnp.asarray(parameters), solutions, strict=True)])


def _relative(values, exact):
    return float(np.max(np.abs(np.asarray(values) - exact) / np.abs(exact)))


def text(records):
    """The records as a table."""
    if records and records[0].get("absent"):
        return f"autolens is not installed: {records[0]['install']}"
    rows = []
    for (case, batch), group in _groups(records).items():
        ours, theirs, numpy = (group.get(name) for name in ("lenskern", "jaxnnls", "autolens on NumPy"))
        slope, their_slope = ours["gradient_s"], theirs["gradient_s"]
        rows.append(
            (
                case,
                ours["data"],
                ours["K"],
                batch,
                report.seconds(ours["median_s"] / batch),
                report.seconds(theirs["median_s"] / batch),
                f"{theirs['median_s'] / ours['median_s']:.2f}",
                report.seconds(numpy["median_s"]) if numpy else None,
                report.error(ours["evidence_err"]),
                report.error(theirs["evidence_err"]),
                report.error(ours["pipeline_err"]),
                None if slope is None else report.seconds(slope) + ("" if ours["gradient_finite"] else ", not finite"),
                None
                if their_slope is None
                else report.seconds(their_slope) + ("" if theirs["gradient_finite"] else ", not finite"),
            )
        )
    columns = ["<likelihood", "data", "K", "batch", "lenskern, a lane", "jaxnnls, a lane", "ratio", "NumPy"]
    columns += ["error: lenskern", "jaxnnls", "pipeline", "gradient: lenskern", "jaxnnls"]
    note = (
        "\nerror: largest relative difference of the log evidence from that with autoarray's active-set search on"
        "\nNumPy; pipeline: the same for the JAX pipeline with NumPy's own solutions. Both likelihoods are compiled,"
        "\nwith and without lenskern registered."
    )
    return report.table(columns, rows) + note


def _groups(records):
    groups = {}
    for record in records:
        if not record.get("absent"):
            groups.setdefault((record["case"], record["batch"]), {})[record["system"]] = record
    return groups
