"""``python -m lenskern.bench mapping``: blurred mapping matrices and their curvature matrices, beside autoarray's."""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import backends, convolve, nnls
from lenskern.bench import report, timing

SIZES = {"30-20": (30, 20), "70-35": (70, 35)}
INSTALL = "pip install 'lenskern[autolens]'"
EINSTEIN_RADIUS = 0.45  # of the radius of the mask
PSF = (21, 21)
GRID = 0.05  # arcsec, of a pixel


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument(
        "--sizes",
        default=",".join(SIZES),
        help="radius of the mask in pixels and side of the mesh, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--batch", type=int, default=3, metavar="N", help="lanes, beside a single one (default 3)")
    parser.add_argument("--runs", type=int, default=7, help="measured runs of each, at least 5")


def run(arguments):
    """Measure, print and write; returns the exit code."""
    sizes = [tuple(int(n) for n in size.split("-")) for size in arguments.sizes.split(",")]
    with jax.enable_x64(True):
        records = measure(sizes, arguments.batch, arguments.runs)
    print(text(records))
    report.write(arguments.json, records)
    return 0


def text(records):
    """The table for the terminal."""
    columns = ("<operation", "pixels", "unknowns", "batch", "<system", "<backend", "time/lane", "ratio", "max error")
    fastest = {}
    for r in records:
        if r["system"] == "lenskern" and r["backend"] == "cpp":
            fastest[_case(r)] = r["median_s"]
    rows = [
        (
            r["case"],
            r["data"],
            r["K"],
            r["batch"],
            r["system"],
            r["backend"],
            report.seconds(r["median_s"] / r["batch"]),
            f"{r['median_s'] / fastest[_case(r)]:.1f}" if _case(r) in fastest else "-",
            report.error(r["max_abs_err"]),
        )
        for r in records
        if r.get("median_s") is not None
    ]
    absent = [f"{r['system']}: not installed; {r['install']}" for r in records if r.get("install")]
    filled = next((r for r in records if r.get("filled")), {"filled": 0, "blurred": 0})
    notes = (
        "\nfloat64, under jit(vmap). Blur: the mapping matrix with the PSF. From entries: the same, with the matrix\n"
        "still to be made, and its gradient by the entries. Curvature: the blurred one times itself.\n"
        f"Of the largest one {100 * filled['filled']:.1f} % of the entries are not zero, and "
        f"{100 * filled['blurred']:.0f} % once it is blurred.\nRatio: over the compiled kernel. Max error: from the "
        "reference, over the largest entry.\n"
    )
    return report.table(columns, rows) + notes + "\n".join(absent)


def _case(record):
    return record["case"], record["data"], record["K"], record["batch"]


def measure(sizes, batch=3, runs=7, rest=0.3):
    """Time the operations in turns, single and in a batch.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Radius of the mask in pixels, pixels along a side of the mesh.
    batch, runs : int
    rest : float
        As for `timing.alternate`.

    Returns
    -------
    list of dict
        Records; `filled` and `blurred` are the shares of entries that are not zero.
    """
    records = []
    for radius, side in sorted(sizes, reverse=True):
        mask, entries, matrices = lens(radius, side, batch)
        noise = jnp.asarray(np.random.default_rng(1).uniform(0.5, 2, matrices.shape[1]))
        psf = convolve.gaussian(2.355 * GRID, GRID, shape=PSF).array
        blurred = jax.jit(jax.vmap(convolve.masked(psf, mask).mapping_matrix))(matrices)
        shares = {
            name: float(np.mean(np.asarray(x[0]) != 0)) for name, x in (("filled", matrices), ("blurred", blurred))
        }
        for lanes in (1, batch):
            listed = [x[:lanes] for x in entries]
            for operation, functions, operands in (
                ("blur", _blurs(psf, mask), (matrices[:lanes],)),
                ("from entries", _makers(psf, mask, side**2), listed),
                ("from entries, gradient", _gradients(psf, mask, side**2), listed),
                ("curvature", _curvatures(noise, mask), (blurred[:lanes],)),
            ):
                calls = {name: partial(jax.jit(jax.vmap(f)), *operands) for name, f in functions.items()}
                found = {name: np.asarray(call()) for name, call in calls.items()}
                right = found["lenskern", "reference"]
                for (system, backend), taken in timing.alternate(calls, runs, rest=rest).items():
                    error = np.abs(found[system, backend] - right).max() / np.abs(right).max()
                    records.append(
                        report.record(
                            benchmark="mapping",
                            case=operation,
                            system=system,
                            backend=backend,
                            dtype="float64",
                            batch=lanes,
                            data=matrices.shape[1],
                            K=matrices.shape[2],
                            median_s=taken.median,
                            min_s=taken.minimum,
                            runs=runs,
                            max_abs_err=float(error),
                            **shares,
                        )
                    )
    if importlib.util.find_spec("autoarray") is None:
        records.append(report.absent("mapping", "autoarray", INSTALL))
    return records


def lens(radius, side, batch):
    """A circular mask, and what a singular isothermal lens makes of its pixels on a rectangular mesh, bilinearly.

    Parameters
    ----------
    radius : int
        Of the mask, in pixels.
    side : int
        Pixels of the mesh.
    batch : int
        Lenses, of Einstein radii that differ.

    Returns
    -------
    mask : (H, W) bool array
        True where masked.
    entries : list of array
        Values, rows and columns of the entries of each matrix, (batch, 4 N) each.
    matrices : (batch, N, side²) array
    """
    width = 2 * radius + 20
    y, x = np.mgrid[:width, :width] - (width - 1) / 2
    mask = np.hypot(y, x) > radius
    theta = np.stack([y[~mask], x[~mask]], 1)
    rows = np.repeat(np.arange(len(theta)), 4)
    lists, matrices = [], np.zeros((batch, len(theta), side**2))
    for lane in range(batch):
        einstein = EINSTEIN_RADIUS * radius * (1 + 0.02 * lane)
        source = theta - einstein * theta / np.linalg.norm(theta, axis=1, keepdims=True)
        low, high = source.min(0), source.max(0)
        place = (source - low) / (high - low) * (side - 1)
        first = np.clip(place.astype(int), 0, side - 2)
        share = place - first
        corners = [(i, j) for i in (0, 1) for j in (0, 1)]
        columns = np.stack([(first[:, 0] + i) * side + first[:, 1] + j for i, j in corners], 1).ravel()
        weights = [np.abs(1 - i - share[:, 0]) * np.abs(1 - j - share[:, 1]) for i, j in corners]
        lists.append((np.stack(weights, 1).ravel(), rows, columns))
        np.add.at(matrices[lane], (rows, columns), lists[-1][0])
    return mask, [jnp.stack(x) for x in zip(*lists, strict=True)], jnp.asarray(matrices)


def _names():
    """Backends of lenskern that are there."""
    return [name for name in ("cpp", "reference") if backends.availability(name).available]


def _blurs(psf, mask):
    """(system, backend) -> function that blurs a mapping matrix."""
    functions = {("lenskern", name): convolve.masked(psf, mask, backend=name).mapping_matrix for name in _names()}
    if importlib.util.find_spec("autoarray"):
        import autoarray as aa

        kernel = aa.Array2D.no_mask(np.array(psf), pixel_scales=GRID)
        theirs, where = aa.Convolver(kernel=kernel), aa.Mask2D(mask, pixel_scales=GRID)
        functions["autoarray", "jax"] = lambda m: theirs.convolved_mapping_matrix_from(m, where, xp=jnp)
    return functions


def _makers(psf, mask, size):
    """(system, backend) -> function that makes a blurred mapping matrix of its entries."""
    functions = {}
    for (system, backend), blur in _blurs(psf, mask).items():
        if system == "lenskern":
            own = convolve.masked(psf, mask, backend=backend)
            functions[system, backend] = partial(own.mapping_matrix_of, size=size)
        else:
            functions[system, backend] = partial(_made_and_blurred, blur, (int((~mask).sum()), size))
    return functions


def _made_and_blurred(blur, shape, values, rows, columns):
    return blur(jnp.zeros(shape).at[rows, columns].add(values))


def _gradients(psf, mask, size):
    """(system, backend) -> the gradient of a weighted sum of a blurred mapping matrix, by the values of its entries."""
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(int((~mask).sum()), size)))

    def slope(make):
        def total(values, rows, columns):
            # Not a constant, for which XLA would work out what it can while it compiles.
            return jnp.sum(jax.lax.optimization_barrier(weights) * make(values, rows, columns))

        return jax.grad(total)

    return {name: slope(make) for name, make in _makers(psf, mask, size).items()}


def _curvatures(noise, mask):
    """(system, backend) -> function that multiplies a blurred mapping matrix."""
    order = nnls.tile_order(mask)
    functions = {
        ("lenskern", name): partial(nnls.normal_matrix, noise_map=noise, order=order, backend=name) for name in _names()
    }
    if importlib.util.find_spec("autoarray"):
        from autoarray.inversion.inversion import inversion_util

        theirs = inversion_util.curvature_matrix_via_mapping_matrix_from
        functions["autoarray", "jax"] = lambda m: theirs(m, noise, xp=jnp)
    return functions
