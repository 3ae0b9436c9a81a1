"""``python -m lenskern.bench render``: write the results in benchmarks/ as a page of the documentation."""

from pathlib import Path

from lenskern.bench import (
    accuracy,
    autolens,
    cholesky,
    convolve,
    dataset,
    deflect,
    mapping,
    nnls,
    poisson,
    report,
    robustness,
    simulate,
    survey,
    tracer,
    upstream,
    visualize,
)
from lenskern.bench.gpu import summary
from lenskern.interop.probe import table_of

# Result files in the order of the page: (name, title, what renders it).
PAGES = (
    ("nnls-stored", "Real inversions from PyAutoLens", nnls.text),
    ("nnls", "Generated inversions", nnls.text),
    ("autolens", "Whole likelihoods of PyAutoLens", autolens.text),
    ("mapping", "Mapping matrices", mapping.text),
    ("upstream", "The tests of PyAutoLens, with and without lenskern", upstream.text),
    ("robustness", "Robustness over generated inversions", robustness.text),
    ("survey", "All methods on the same inversions", survey.text),
    ("deflect_accuracy", "Accuracy of the halo profiles", accuracy.text),
    ("deflect", "Ray shooting through many haloes", deflect.text),
    ("tracer", "Tracers of autolens", tracer.text),
    ("probe", "Steps of a likelihood of PyAutoLens", table_of),
    ("simulate", "Noisy images of lenses with a thousand haloes", simulate.text),
    ("convolve", "Convolution with a point spread function", convolve.text),
    ("visualize", "Visualization in a PyAutoLens search", visualize.text),
    ("dataset", "A data set, killed and resumed", dataset.text),
    ("cholesky", "The CPU kernels' Cholesky factorisation beside LAPACK's", cholesky.text),
    ("poisson", "Poisson draws", poisson.text),
)
NO_GPU = """## On a GPU

Not measured yet: no kernel for NVIDIA GPUs has run on one. `make gpu` measures them where there is one; see
[gpu.md](gpu.md).
"""


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--results", default="benchmarks", metavar="DIR", help="folder of the JSON files")
    parser.add_argument("--out", default="docs/benchmarks.md", metavar="FILE", help="the page to write")


def run(arguments):
    """Render and write; returns the exit code."""
    Path(arguments.out).write_text(page(Path(arguments.results)))
    return 0


def page(results):
    """The page as Markdown, from the JSON files in a folder; a benchmark without a file is left out.

    Parameters
    ----------
    results : pathlib.Path

    Returns
    -------
    str
    """
    parts = [
        "# Benchmarks\n\nRendered by `python -m lenskern.bench render` from the records in `benchmarks/`, which name "
        "machine, versions\nand date. All systems of a table are measured in turns in one process; times are medians.\n"
    ]
    for name, title, text in PAGES:
        path = results / f"{name}.json"
        if path.exists():
            records = report.read(path)
            parts.append(_section(title, records, text))
    of_devices = sorted((results / "results").glob("*.json"))
    parts += [_section(f"On a GPU: {path.stem}", report.read(path), summary.text) for path in of_devices]
    if not of_devices:
        parts.append(NO_GPU)
    return "\n".join(parts)


def _section(title, records, text):
    return f"## {title}\n\n{_conditions(records)}\n\n```\n{text(records)}\n```\n"


def _conditions(records):
    """Machine, versions and date of a list of records, in a sentence."""
    first = records[0]
    device, versions = first["device"], first["versions"]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"{first['date']}, {device['model']}, {device['cores']} cores; {packages}."
