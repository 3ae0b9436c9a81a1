"""``python -m lenskern.bench tracer``: a tracer of autolens through nine planes, and the same by lenskern."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import deflect
from lenskern.bench import deflect_oracle, deflect_peers, report, subhaloes, timing

REDSHIFTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.95, 1.25, 1.6)
LENS_PLANE = 4

# (haloes, rays along a side)
FULL, QUICK = [(1000, 100), (1000, 300)], [(45, 20)]


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each system, at least 5")
    parser.add_argument("--quick", action="store_true", help="a small size, in seconds")


def run(arguments):
    """Measure and print; returns the exit code."""
    with jax.enable_x64(True):
        records = measure(QUICK if arguments.quick else FULL, arguments.runs)
    report.write(arguments.json, records)
    print(text(records))
    return 0


def measure(cases, runs=5, oracle_rays=20):
    """Measure every case.

    Parameters
    ----------
    cases : sequence of (int, int)
        Haloes on nine planes together, and rays along a side.
    runs : int
        At least 5.
    oracle_rays : int
        Rays that are computed in arithmetic of 40 digits.

    Returns
    -------
    list of dict
        See `report.record`. ``max_abs_err`` is the largest difference of any ray from the reference backend's direct
        sums, ``oracle_err`` that of a few rays from 40 digits, both in arcsec; ``setup_s`` is the time that the
        conversion of the tracer takes, without compilation.
    """
    try:
        import autolens as al
    except ImportError:
        return [report.absent("tracer", "autolens", "pip install 'lenskern[autolens]'")]
    records = []
    for haloes, side in cases:
        records += _measure(al, haloes, side, runs, oracle_rays)
    return records


def cone(haloes):
    """The light cone: so many haloes on nine planes together, and a power law with shear on the fifth."""
    counts = [len(part) for part in np.array_split(np.arange(haloes), len(REDSHIFTS))]
    parts = zip(counts, REDSHIFTS, strict=True)
    return subhaloes.Cone(
        REDSHIFTS,
        tuple(subhaloes.subhaloes(count, 1000 * i, z, 2.0) for i, (count, z) in enumerate(parts)),
        lens_plane=LENS_PLANE,
    )


def tracer(al, cone):
    """A tracer of autolens, a galaxy for each halo as its sampler of the line of sight makes them."""
    galaxies = [
        al.Galaxy(redshift=z, halo=profile)
        for z, haloes in zip(cone.redshifts, cone.haloes, strict=True)
        for profile in deflect_peers._autolens_profiles(al, haloes)
    ]
    mass, shear = deflect_peers._autolens_lens(al, cone)
    galaxies.append(al.Galaxy(redshift=cone.redshifts[cone.lens_plane], mass=mass, shear=shear))
    source = al.Galaxy(redshift=cone.source_redshift, light=al.lp.SersicSph())
    return al.Tracer(galaxies=[*galaxies, source], cosmology=deflect_peers._autolens_cosmology(al))


def _measure(al, haloes, side, runs, oracle_rays):
    from autogalaxy.profiles.mass.abstract.deflections_memo import memo_disabled

    from lenskern.interop.autolens import planes_from

    problem, rays = cone(haloes), subhaloes.rays(side)
    theirs, grid = tracer(al, problem), jnp.asarray(rays)
    points = al.Grid2DIrregular(values=rays)

    def autolens():
        # It would give back what it computed for the same haloes and rays before.
        with memo_disabled():
            return np.asarray(theirs.traced_grid_2d_list_from(grid=points)[-1].array)

    planes_from(theirs)  # what JAX compiles for the first one
    start = time.perf_counter()
    planes = planes_from(theirs)
    setup = time.perf_counter() - start
    calls = {("autolens", "numpy", None): autolens}
    for backend, tol in (("cpp", 0.0), ("cpp", None)):
        trace = partial(deflect.trace, tol=tol, backend=backend)
        calls["lenskern", backend, tol] = partial(jax.jit(trace).lower(planes, grid).compile(), planes, grid)
    times = timing.alternate(calls, runs)
    truth = np.asarray(deflect.trace(planes, grid, tol=0, backend="reference"))
    few = np.linspace(0, len(rays) - 1, min(oracle_rays, len(rays))).astype(int)
    oracle = deflect_oracle.trace(problem, rays[few])
    results = {key: np.asarray(call()) for key, call in calls.items()}
    records = []
    for key, found in results.items():
        system, backend, tol = key
        records.append(
            report.record(
                benchmark="tracer",
                case=f"{haloes} haloes on 9 planes, {side}x{side} rays",
                system=system,
                backend=backend,
                dtype="float64",
                tol=tol,
                batch=1,
                median_s=times[key].median,
                min_s=times[key].minimum,
                runs=runs,
                max_abs_err=float(np.abs(found - truth).max()),
                oracle_err=float(np.abs(found[few] - oracle).max()),
                difference=float(np.abs(found - results["autolens", "numpy", None]).max()),
                setup_s=setup if system == "lenskern" else None,
            )
        )
    return records


def text(records):
    """The tables for the terminal."""
    measured = [r for r in records if not r.get("absent")]
    parts = []
    for case in dict.fromkeys(r["case"] for r in measured):
        here = [r for r in measured if r["case"] == case]
        (peer,) = [r["median_s"] for r in here if r["system"] == "autolens"]
        rows = [
            [
                r["system"],
                r["backend"],
                None if r["system"] == "autolens" else "direct" if r["tol"] == 0 else "far, default",
                report.seconds(r["median_s"]),
                f"{peer / r['median_s']:.3g}",
                report.error(r["difference"]) if r["system"] == "lenskern" else None,
                report.error(r["max_abs_err"]),
                report.error(r["oracle_err"]),
                report.seconds(r["setup_s"]),
            ]
            for r in here
        ]
        columns = ["<system", "<backend", "<sum", "time", "speed", "from autolens", "from reference", "from 40 digits"]
        parts.append(f"{case}\n{report.table([*columns, 'conversion'], rows)}")
    if measured:
        parts.append(
            "speed: over autolens's; from autolens, from reference: largest difference of any ray in arcsec; from 40\n"
            "digits: that of a few rays; conversion: of the tracer to planes, once."
        )
    parts += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n\n".join(parts)
