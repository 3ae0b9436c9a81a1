"""``python -m lenskern.bench convolve``: convolution with a point spread function, beside other programs."""

import itertools
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import signal

from lenskern import backends, convolve
from lenskern.bench import report, timing
from lenskern.convolve import primitive, reference

# Calls of one measured run: many, since one of them takes microseconds.
REPEATS = 20


@dataclass(frozen=True)
class Case:
    """Images of ``side`` pixels squared and a kernel of ``size`` entries squared.

    ``kind`` is "gaussian", which is one product of a column and a row, "moffat", which is none, "gradient", the
    derivative by the image of a convolution with the latter, or "masked", a circle of pixels given as a vector.
    """

    kind: str
    side: int
    size: int
    batch: int = 1

    @property
    def name(self):
        """In words."""
        return f"{self.side}², {self.kind} {self.size}²"


FULL = [
    *itertools.starmap(Case, [("moffat", 50, 5), ("moffat", 100, 5), ("moffat", 100, 11), ("moffat", 100, 21)]),
    *itertools.starmap(Case, [("moffat", 100, 41), ("moffat", 200, 11), ("moffat", 200, 21), ("moffat", 400, 21)]),
    *itertools.starmap(Case, [("moffat", 100, 11, 32), ("moffat", 100, 21, 32), ("moffat", 200, 41, 8)]),
    *itertools.starmap(
        Case, [("gaussian", 50, 9), ("gaussian", 100, 21), ("gaussian", 200, 41), ("gaussian", 400, 21)]
    ),
    *itertools.starmap(Case, [("gaussian", 50, 9, 32), ("gaussian", 100, 21, 32)]),
    *itertools.starmap(Case, [("gradient", 100, 21), ("gradient", 100, 41), ("masked", 100, 21), ("masked", 200, 11)]),
]
QUICK = [Case("moffat", 20, 5), Case("gaussian", 20, 7, 2), Case("gradient", 16, 5), Case("masked", 20, 5)]


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--runs", type=int, default=7, help="measured runs of each system, at least 5")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    parser.add_argument("--no-peers", action="store_true", help="measure lenskern alone")


def run(arguments):
    """Measure and print; returns the exit code."""
    cases = QUICK if arguments.quick else FULL
    with jax.enable_x64(True):
        records = measure(cases, arguments.runs, not arguments.no_peers, 0.001 if arguments.quick else 0.02)
    print(text(records))
    report.write(arguments.json, records)
    return 0


def measure(cases, runs=7, with_peers=True, rest=0.02):
    """Measure every case in float32 and float64.

    Parameters
    ----------
    cases : sequence of Case
    runs : int
        At least 5.
    with_peers : bool
    rest : float
        See `timing.alternate`.

    Returns
    -------
    list of dict
        See `report.record`; times are of one image, ``max_abs_err`` is relative to the largest value of the result.
    """
    records = []
    autoarray = _autoarray_module() if with_peers else None
    if with_peers and autoarray is None:
        records.append(report.absent("convolve", "autoarray", "pip install autolens"))
    with report.progress(2 * len(cases), "convolve") as tick:
        for case, dtype in itertools.product(cases, ("float32", "float64")):
            records += _measure_case(case, dtype, runs, with_peers, autoarray, rest)
            tick(case.name)
    return records


def kernel_of(case):
    """The kernel of a case, a float64 array of sum 1."""
    y, x = np.mgrid[: case.size, : case.size] - (case.size - 1) / 2
    square = (y**2 + x**2) / (case.size / 8) ** 2
    image = np.exp(-square / 2) if case.kind == "gaussian" else (1 + square / 4) ** -2.5
    return image / image.sum()


def _measure_case(case, dtype, runs, with_peers, autoarray, rest):
    images = np.random.default_rng(0).gamma(1.0, size=(case.batch, case.side, case.side)).astype(dtype)
    kernel = kernel_of(case)
    systems = _own_masked(case, kernel, dtype) if case.kind == "masked" else _own(case, kernel, dtype)
    if with_peers:
        systems |= _peers(case, kernel, dtype, autoarray)
    ready = images if case.kind != "masked" else images[0][~_circle(case.side)]
    on_device = jnp.asarray(ready)
    calls = {key: partial(_repeat, call, on_device if key[0] != "scipy" else ready) for key, call in systems.items()}
    times = timing.alternate(calls, runs, rest=rest)
    truth = _truth(case, images.astype("float64"), kernel)
    if case.kind == "masked":
        truth = truth[0][~_circle(case.side)]
    default = convolve.plan(kernel, (case.side, case.side), dtype=dtype)
    if case.kind == "masked":
        default = convolve.masked(kernel, _circle(case.side), dtype=dtype).plan
    records = []
    for (name, method, backend), call in systems.items():
        scale = REPEATS * case.batch
        timed = times[name, method, backend]
        found = np.asarray(call(ready if name == "scipy" else on_device))
        records.append(
            report.record(
                benchmark="convolve",
                case=case.name,
                system=name,
                method=method,
                backend=backend,
                dtype=dtype,
                batch=case.batch,
                median_s=timed.median / scale,
                min_s=timed.minimum / scale,
                runs=runs,
                max_abs_err=float(np.abs(found - truth).max() / np.abs(truth).max()),
                chosen=name == "lenskern" and method == default.method and backend == _default(method),
            )
        )
    return records


def _default(method):
    return "cpp" if backends.availability("cpp").available and method != "fft" else "reference"


def _repeat(call, images):
    for _ in range(REPEATS):
        out = jax.block_until_ready(call(images))
    return out


def _truth(case, images, kernel):
    """By SciPy; the derivative of sum(c²) / 2 by the image x, where c = k * x, is the correlation of k and c."""
    out = np.array([signal.fftconvolve(image, kernel, mode="same") for image in images])
    if case.kind == "masked":
        images = np.where(_circle(case.side), 0, images)
        out = np.array([signal.fftconvolve(image, kernel, mode="same") for image in images])
    if case.kind == "gradient":
        out = np.array([signal.fftconvolve(image, kernel[::-1, ::-1], mode="same") for image in out])
    return out


def _squares(blur):
    return jax.jit(jax.grad(lambda images: (blur(images) ** 2).sum() / 2))


def _variants(case, kernel, dtype):
    """Methods and backends worth measuring: the compiled kernels, and the reference of every method."""
    shape, names = (case.side, case.side), ["reference"]
    if backends.availability("cpp").available:
        names.append("cpp")
    separable = convolve.kernels.factors(kernel, np.dtype(dtype)) is not None
    for method, name in itertools.product(primitive.BACKENDS, names):
        runs = name == "reference" or name in primitive.BACKENDS[method]
        slow = name == "reference" and method == "direct" and case.size**2 > reference.UNROLLED
        if runs and not slow and (method != "separable" or separable):
            yield method, name, shape


def _own(case, kernel, dtype):
    found = {}
    for method, name, shape in _variants(case, kernel, dtype):
        plan = convolve.plan(kernel, shape, method=method, dtype=dtype, backend=name)
        blur = _squares(plan) if case.kind == "gradient" else partial(jax.jit(lambda p, x: p(x)), plan)
        found["lenskern", method, name] = blur
    return found


def _own_masked(case, kernel, dtype):
    found = {}
    for method, name, _ in _variants(case, kernel, dtype):
        blur = convolve.masked(kernel, _circle(case.side), method=method, dtype=dtype, backend=name)
        found["lenskern", method, name] = partial(jax.jit(lambda p, x: p(x)), blur)
    return found


def _peers(case, kernel, dtype, autoarray):
    of_type = kernel.astype(dtype)
    if case.kind == "masked":
        return {} if autoarray is None else {("autoarray", "fft", "jax"): _autoarray(case, kernel, dtype, autoarray)}
    jax_kernel = jnp.asarray(of_type)
    by_jax = jax.vmap(lambda image: jax.scipy.signal.fftconvolve(image, jax_kernel, mode="same"))
    if case.kind == "gradient":
        return {("jax.scipy", "fft", "jax"): _squares(by_jax)}
    by_scipy = lambda images: np.array([signal.fftconvolve(x, of_type, mode="same") for x in images])  # noqa: E731
    return {("jax.scipy", "fft", "jax"): jax.jit(by_jax), ("scipy", "fft", "numpy"): by_scipy}


def _circle(side):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return y**2 + x**2 > (0.35 * side) ** 2


def _autoarray_module():
    try:
        import autoarray
    except ImportError:
        return None
    return autoarray


def _autoarray(case, kernel, dtype, autoarray):
    mask = autoarray.Mask2D(_circle(case.side), pixel_scales=1.0)
    array = autoarray.Array2D.no_mask(kernel, pixel_scales=1.0)
    state = autoarray.operators.convolver.ConvolverState(kernel=array, mask=mask)
    convolver = autoarray.Convolver(kernel=array, use_fft=True, state=state)
    around = mask.derive_mask.blurring_from(kernel_shape_native=kernel.shape)
    dark = autoarray.Array2D(np.zeros(int((~np.array(around)).sum())), mask=around)

    def blur(pixels):
        image = autoarray.Array2D(pixels, mask=mask)
        single = dtype == "float32"
        return convolver.convolved_image_from(image, dark, use_mixed_precision=single, xp=jnp).array

    return jax.jit(blur)


def text(records):
    """The table for the terminal."""
    columns = ("<case", "batch", "<dtype", "<system", "<method", "<backend", "time/image", "time ratio", "error", "<")
    measured = [r for r in records if not r.get("absent")]
    rows = []
    for _, group in itertools.groupby(measured, lambda r: (r["case"], r["batch"], r["dtype"])):
        group = list(group)
        fastest = min(r["min_s"] for r in group if r["system"] == "lenskern")
        rows += [
            (
                *(r[name] for name in ("case", "batch", "dtype", "system", "method", "backend")),
                report.seconds(r["min_s"]),
                f"{r['min_s'] / fastest:.2f}",
                report.error(r["max_abs_err"]),
                "chosen" if r["chosen"] else "",
            )
            for r in sorted(group, key=lambda r: r["min_s"])
        ]
    lines = [report.table(columns, rows)]
    lines.append(
        "times: shortest of the runs, as the machine is shared; ratio: over the fastest lenskern; error: of the"
    )
    lines.append("largest value, against SciPy in float64; chosen: what method=None and backend=None take.")
    lines += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n".join(lines)
