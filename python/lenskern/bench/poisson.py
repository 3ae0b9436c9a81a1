"""``python -m lenskern.bench poisson``: Poisson draws of images beside jax.random.poisson and NumPy's Generator."""

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import backends
from lenskern.bench import report, timing
from lenskern.simulate.poisson import poisson

SHAPE = (100, 100)
REPEATS = 20  # of a call with one image, which is too short to be timed alone


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--rates", default="0.01,1,9,12,100,1e4", help="means of a pixel, separated by commas")
    parser.add_argument("--batches", default="1,64", help="images in a call, separated by commas")
    parser.add_argument("--runs", type=int, default=9, help="measured runs of each, at least 5")


def run(arguments):
    """Measure, print and write; returns the exit code."""
    rates, batches = arguments.rates.split(","), arguments.batches.split(",")
    with jax.enable_x64(True):
        records = measure([float(rate) for rate in rates], [int(batch) for batch in batches], arguments.runs)
    print(text(records))
    report.write(arguments.json, records)
    return 0


def text(records):
    """The table for the terminal."""
    columns = ("<rates", "<dtype", "batch", "<system", "<backend", "time/image", "shortest", "time ratio")
    fastest = {}
    for r in records:
        if r["system"] == "lenskern":
            fastest[_case(r)] = min(fastest.get(_case(r), np.inf), r["median_s"])
    rows = [
        (
            r["case"],
            r["dtype"],
            r["batch"],
            r["system"],
            r["backend"],
            report.seconds(r["median_s"] / r["batch"]),
            report.seconds(r["min_s"] / r["batch"]),
            f"{r['median_s'] / fastest[_case(r)]:.2f}",
        )
        for r in records
    ]
    notes = (
        f"\nImages of {' by '.join(map(str, SHAPE))} pixels; mixed: rates of 1 to 10,000, uniform in the logarithm; "
        "normal: jax.random.normal,\n"
        "for scale. Shortest: of all runs. Time ratio: of the medians, over the fastest lenskern."
    )
    return report.table(columns, rows) + notes


def _case(record):
    return record["case"], record["dtype"], record["batch"]


def measure(rates, batches, runs=9, dtypes=("float64", "float32")):
    """Time all samplers in turns, on images of one rate and on images of mixed rates.

    Parameters
    ----------
    rates : sequence of float
    batches : sequence of int
        Numbers of images in a call.
    runs : int
    dtypes : sequence of str
        Of the mixed rates; the others are float64.

    Returns
    -------
    list of dict
        Records; ``pixels`` is the size of an image.
    """
    mixed = 10 ** np.random.default_rng(0).uniform(0, 4, SHAPE)
    images = {f"{rate:g}": np.full(SHAPE, rate) for rate in rates} | {"mixed": mixed}
    cases = [(f"{rate:g}", "float64", batch) for rate in rates for batch in batches]
    cases += [("mixed", dtype, batch) for dtype in dtypes for batch in batches]
    records = []
    per_case = timing.steps(_calls(images["mixed"], "float32", 1), runs)
    with report.progress(per_case * len(cases), "poisson") as tick:
        for case, dtype, batch in cases:
            calls = _calls(images[case], dtype, batch)
            for (system, backend), taken in timing.alternate(calls, runs, rest=0.05, tick=tick).items():
                repeats = REPEATS if batch == 1 else 1
                records.append(
                    report.record(
                        benchmark="poisson",
                        case=case,
                        system=system,
                        backend=backend,
                        dtype=dtype,
                        batch=batch,
                        median_s=taken.median / repeats,
                        min_s=taken.minimum / repeats,
                        runs=runs,
                        pixels=images[case].size,
                    )
                )
    return records


def _calls(image, dtype, batch):
    """(system, backend) -> call that draws a batch of images, each with a key of its own."""
    rates = jnp.broadcast_to(jnp.asarray(image, dtype), (batch, *image.shape))
    keys = jax.random.split(jax.random.key(0), batch)
    generator = np.random.default_rng(0)
    host = np.asarray(rates, np.float64)

    def on_device(sampler):
        draw = jax.jit(jax.vmap(sampler))
        if batch > 1:
            return lambda: draw(keys, rates)
        return lambda: [draw(keys, rates).block_until_ready() for _ in range(REPEATS)][-1]

    def on_host():
        for _ in range(REPEATS if batch == 1 else 1):
            drawn = generator.poisson(host)
        return drawn

    ours = [name for name in ("cpp", "reference") if backends.availability(name).available]
    calls = {
        ("lenskern", name): on_device(lambda key, rate, name=name: poisson(key, rate, backend=name)) for name in ours
    }
    calls["jax", "jax"] = on_device(jax.random.poisson)
    calls["numpy", "numpy"] = on_host
    calls["normal", "jax"] = on_device(lambda key, rate: jax.random.normal(key, rate.shape, rate.dtype))
    return calls
