"""``python -m lenskern.bench visualize``: the images that a PyAutoLens search shows while it runs, before and after."""

import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from lenskern.bench import autolens_lenses, report
from lenskern.bench.autolens import single_threaded_pool
from lenskern.bench.nnls import choices
from lenskern.interop import autoarray as interop_autoarray
from lenskern.interop import autofit as interop_autofit

CASES = tuple(case for case in autolens_lenses.CASES if case.startswith("imaging"))
INSTALL = "pip install 'lenskern[autolens]'"

# autolens as it is; with the shared fit, and autolens's own solver; with lenskern registered, the fit and the solver.
SYSTEMS = ("autolens", "lenskern, fit", "lenskern")

# The duration of each compilation by XLA, as JAX reports it; one read from the disk is none.
COMPILED = "/jax/core/compile/backend_compile_duration"


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here, beside those of other cases")
    parser.add_argument("--cases", default=",".join(CASES), help="separated by commas")
    parser.add_argument("--updates", type=int, default=6, help="quick updates of each system, at least 2")
    parser.add_argument("--quick", action="store_true", help="small data and models")


def run(arguments):
    """Measure and print; returns the exit code."""
    cases = choices("--cases", arguments.cases, CASES)
    if arguments.updates < 2:
        print(f"--updates: expected at least 2, got {arguments.updates}", file=sys.stderr)
        return 2
    single_threaded_pool()
    records = measure(cases, arguments.updates, arguments.quick)
    print(text(records))
    report.update(arguments.json, records)
    return 0


def measure(cases, updates=6, quick=False):
    """Visualize parameter vector after parameter vector of each case, as autolens does and with the shared fit.

    Parameters
    ----------
    cases : sequence of str
        Of `CASES`.
    updates : int
        At least 2: the first counts for itself.
    quick : bool
        Small data and models.

    Returns
    -------
    list of dict
        See `report.record`; one for each case and system.
    """
    try:
        import autolens  # noqa: F401
        from autofit.jax import enable_pytrees
    except ImportError:
        return [report.absent("visualize", "autolens", INSTALL)]
    import matplotlib

    matplotlib.use("Agg")
    enable_pytrees()
    size = autolens_lenses.QUICK if quick else autolens_lenses.PRODUCTION
    records = []
    with (
        jax.enable_x64(True),
        report.progress(len(SYSTEMS) * len(cases) * (updates + 1), "visualize") as tick,
        no_disk_cache(),
    ):
        for case in cases:
            records += measure_case(case, size, updates, tick)
    return records


def measure_case(case, size, updates, tick=lambda: None):
    """Records of the systems for one case; the drawn numbers are compared with those of autolens."""
    lens = autolens_lenses.lens(case, size)
    vectors = lens.parameters(updates + 1)
    runs = {}
    for system in SYSTEMS:
        # what the others have compiled would be found again
        jax.clear_caches()
        analysis, start = lens.analysis(), None
        with interop_autoarray.registered() if system == "lenskern" else contextlib.nullcontext():
            if system != "autolens":
                shared = interop_autofit.SharedFit(analysis, lens.model)
                analysis.fit_for_visualization, start = shared.fit, shared.start
            runs[system] = [update(analysis, lens.model, vectors[0], warm_up=start or True)]
            tick()
            for vector in vectors[1:]:
                runs[system].append(update(analysis, lens.model, vector))
                tick()
    theirs, pixels = runs["autolens"][1:], lens.dataset.data.shape[0]
    return [
        _record(
            case,
            system,
            found,
            None
            if system == "autolens"
            else max(difference(a.drawn, b.drawn) for a, b in zip(found[1:], theirs, strict=True)),
            pixels,
        )
        for system, found in runs.items()
    ]


@dataclass
class Update:
    """What one quick update took."""

    total: float = 0.0
    model_data: float = 0.0
    curves: float = 0.0
    compilations: int = 0
    drawn: dict = field(default_factory=dict, repr=False)


def update(analysis, model, vector, warm_up=False):
    """One quick update as a search makes it, or what it does before the first one.

    Parameters
    ----------
    analysis : autofit.Analysis
    model : autofit.Collection
    vector : array (N,)
        Parameters.
    warm_up : bool or callable
        True: only the fit and its model data, as autofit's warm-up; a callable is called in place of the fit.

    Returns
    -------
    Update
    """
    from autolens.imaging.model import visualizer

    found = Update()
    fit_for_visualization, curves = analysis.fit_for_visualization, visualizer._compute_critical_curves_from_fit

    def timed_fit(instance):
        start = time.perf_counter()
        fit = fit_for_visualization(instance=instance)
        np.asarray(fit.model_data.array)
        found.model_data = time.perf_counter() - start
        return fit

    def timed_curves(fit):
        start = time.perf_counter()
        lines = curves(fit)
        found.curves = time.perf_counter() - start
        return lines

    with tempfile.TemporaryDirectory() as folder, compilations() as durations:
        start = time.perf_counter()
        instance = model.instance_from_vector(vector=vector)
        if callable(warm_up):
            warm_up(background=False)
        elif warm_up:
            timed_fit(instance)
        else:
            replaced = {"fit_for_visualization": timed_fit}
            with (
                _attributes(analysis, **replaced),
                _attributes(visualizer, _compute_critical_curves_from_fit=timed_curves),
            ):
                with drawn() as found.drawn:
                    analysis.perform_quick_update(SimpleNamespace(image_path=Path(folder)), instance)
        found.total = time.perf_counter() - start
    found.compilations = len(durations)
    return found


@contextlib.contextmanager
def compilations():
    """Seconds of each compilation by XLA in this process, of programs that no cache had."""
    durations, on = [], [True]

    def listen(event, duration, **_):
        if on and event == COMPILED:
            durations.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield durations
    finally:
        # JAX has no public way to take a listener away
        on.clear()


@contextlib.contextmanager
def no_disk_cache():
    """Compile everything, whatever is on disk; autofit's cache would make a second run of this another benchmark."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


@contextlib.contextmanager
def _attributes(owner, **values):
    before = {name: vars(owner).get(name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value) if value is not None else delattr(owner, name)


@contextlib.contextmanager
def drawn():
    """The numbers in the panels of the figures that autolens saves: ``{(figure, panel, what): array}``."""
    from autolens.imaging.plot import fit_imaging_plots

    found, save = {}, fit_imaging_plots.save_figure

    def keep(figure, *args, **kwargs):
        number = len({key[0] for key in found})
        for panel, axes in enumerate(figure.axes):
            for n, artist in enumerate([*axes.images, *axes.collections]):
                if artist.get_array() is not None:
                    found[number, panel, f"values {n}"] = values_of(artist)
            for n, line in enumerate(axes.lines):
                found[number, panel, f"line {n}"] = np.asarray(line.get_xydata(), float)
        return save(figure, *args, **kwargs)

    with _attributes(fit_imaging_plots, save_figure=keep):
        yield found


def values_of(artist):
    """What an image or a collection shows, NaN where it is masked.

    Triangles come in an order that depends on rounding; here they are in that of their centres.
    """
    values = np.ma.filled(np.ma.asarray(artist.get_array(), float), np.nan)
    paths = artist.get_paths() if hasattr(artist, "get_paths") else []
    if values.ndim != 1 or len(paths) != values.size:
        return values
    centres = np.array([path.vertices[:3].mean(axis=0) for path in paths])
    return values[np.lexsort(np.round(centres, 9).T)]


def difference(ours, theirs):
    """Largest difference between the numbers in two figures, over the largest number of their panel.

    Infinite where a panel shows something else, has another size, or other gaps.
    """
    if ours.keys() != theirs.keys() or any(ours[key].shape != theirs[key].shape for key in ours):
        return float("inf")
    worst = 0.0
    for key, value in ours.items():
        if not np.array_equal(np.isnan(value), np.isnan(theirs[key])):
            return float("inf")
        if value.size and not np.isnan(value).all():
            scale = max(np.nanmax(np.abs(theirs[key])), np.finfo(float).tiny)
            worst = max(worst, float(np.nanmax(np.abs(value - theirs[key])) / scale))
    return worst


def _record(case, system, runs, error, pixels):
    warm, first, *later = runs
    totals = [run.total for run in later]
    return report.record(
        benchmark="visualize",
        case=case,
        system=system,
        backend="jax",
        dtype="float64",
        batch=1,
        pixels=pixels,
        median_s=float(np.median(totals)),
        min_s=min(totals),
        runs=len(later),
        max_abs_err=error,
        warmup_s=warm.total,
        warmup_compilations=warm.compilations,
        first_s=first.total,
        first_compilations=first.compilations,
        later_compilations=max(run.compilations for run in later),
        model_data_s=float(np.median([run.model_data for run in later])),
        curves_s=float(np.median([run.curves for run in later])),
        figure_s=float(np.median([run.total - run.model_data - run.curves for run in later])),
    )


def text(records):
    """The table for the terminal and the page."""
    rows = [
        [
            r["case"],
            r["system"],
            f"{r['warmup_compilations']} in {report.seconds(r['warmup_s'])}",
            f"{r['first_compilations']} in {report.seconds(r['first_s'])}",
            f"{r['later_compilations']} in {report.seconds(r['median_s'])}",
            report.seconds(r["model_data_s"]),
            report.seconds(r["curves_s"]),
            report.seconds(r["figure_s"]),
            None if r["system"] == "autolens" else report.error(r["max_abs_err"]),
        ]
        for r in records
        if not r.get("absent")
    ]
    columns = ["<case", "<system", "warm-up", "first update", "later", "model data", "curves", "figure", "difference"]
    parts = []
    if rows:
        parts.append(report.table(columns, rows))
        parts.append(
            "Compilations by XLA and seconds before the first quick update of a search, in the first one, and in each\n"
            "later one (of compilations the most, of times the median), which are those to the model data, to the\n"
            "critical curves and caustics, and for the figure of twelve panels and its file; difference: the largest\n"
            "of the numbers in that figure from those of autolens, over the largest of their panel. The shared fit is\n"
            'lenskern\'s in the rows "fit", with autolens\'s own solver, and "lenskern", with lenskern\'s.'
        )
    parts += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n\n".join(parts)
