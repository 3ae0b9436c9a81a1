"""``python -m lenskern.bench accuracy``: deflection, convergence and shear of every halo profile against 40 digits."""

import numpy as np

from lenskern.bench import report
from lenskern.bench.accuracy_systems import systems
from lenskern.deflect import Profile

QUANTITIES = ("deflection", "convergence", "shear")
# Ranges of x = R / scale: its decades, and close to 1, where textbook formulas are 0 / 0; and their groups in tables.
BINS = (*(f"1e{n}" for n in range(-6, 4)), "near 1")
GROUPS = (
    ("1e-6..1e-4", BINS[0:2]),
    ("..1e-2", BINS[2:4]),
    ("..1", BINS[4:6]),
    ("..1e2", BINS[6:8]),
    ("..1e4", BINS[8:10]),
    ("near 1", BINS[10:]),
)
# Decades of the shape parameters, by name.
RANGES = ((-1.5, -0.5), (-0.5, 0.5), (0.5, 1.5))
SHAPES = {
    Profile.NFW: (),
    Profile.TNFW: ("tau",),
    Profile.CNFW: ("core",),
    Profile.TNFWC: ("core", "tau"),
    Profile.DPIE: ("core",),
    Profile.POINT: (),
    Profile.SIS: (),
}


def add_arguments(parser):
    """Add the options of this command to an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    parser.add_argument("--points", type=int, default=20, help="radii per decade")
    parser.add_argument("--shapes", type=int, default=8, help="values of the shape parameters per decade of each")
    parser.add_argument("--no-peers", action="store_true", help="lenskern alone")


def run(arguments):
    """Measure, print and write; returns the exit code."""
    records = measure(arguments.points, arguments.shapes, with_peers=not arguments.no_peers)
    print(text(records))
    report.write(arguments.json, records)
    return 0


def radii(points, seed=0):
    """x in every bin: evenly spaced in log x but for a random shift, and at distances from 1 of 0 and 1e-12 to 0.1.

    Returns
    -------
    array, shape (11, points)
    """
    start = np.arange(-6, 4)[:, None]
    shift = np.random.default_rng(seed).uniform(size=(10, points))
    away = np.logspace(-12, -1, points // 2)
    near = np.r_[1, 1 - away, 1 + away][:points]
    return np.concatenate([10 ** (start + (np.arange(points) + shift) / points), near[None]])


def cells(profile, shapes, seed=0):
    """Shape parameters (p, q) of a profile: dict of names to array, shape (n, 2).

    A name has a part for each parameter: one of `RANGES`, "near 1", 0, or for TNFWC "equal".
    """
    rng = np.random.default_rng(seed)

    def within(low, high):
        return 10 ** (low + (high - low) * (rng.permutation(shapes) + rng.uniform(size=shapes)) / shapes)

    near = np.r_[1, 1 - 1e-9, 1 + 1e-6, 1 - 1e-3, 1.03]
    if profile == Profile.DPIE:
        parts = {((-3, 0),): within(-3, 0), (0,): np.zeros(1), ("near 1",): 1 - np.logspace(-6, -2, 5)}
    elif len(SHAPES[profile]) == 1:
        parts = {(part,): within(*part) for part in RANGES} | {("near 1",): near}
        if profile == Profile.CNFW:
            parts[(0,)] = np.zeros(1)
    elif profile == Profile.TNFWC:
        anything = within(-1.5, 1.5)
        parts = {(first, second): (within(*first), within(*second)) for first in RANGES for second in RANGES}
        parts |= {
            (0, (-1.5, 1.5)): (np.zeros(shapes), anything),
            ((-1.5, 1.5), "near 1"): (anything[: len(near)], near),
        }
        parts |= {("equal", (-1.5, 1.5)): (anything, anything), ("near 1", "near 1"): (near, near[::-1])}
        return {name: np.stack(np.broadcast_arrays(*values), -1) for name, values in parts.items()}
    else:
        parts = {(): np.zeros(1)}
    return {name: np.stack([p, np.zeros_like(p)], -1) for name, p in parts.items()}


def measure(points=20, shapes=8, with_peers=True, profiles=tuple(SHAPES)):
    """Errors of all systems.

    Parameters
    ----------
    points : int
        Radii per decade.
    shapes : int
        Values of each shape parameter per decade, at least 5.
    with_peers : bool
    profiles : sequence of Profile

    Returns
    -------
    list of dict
        Records, one for each system, dtype, profile and range of the shape parameters: ``errors`` has the largest
        relative error for each quantity and bin of x, None where the system does not offer it.
    """
    import jax

    records, loaded = [], []
    for system in systems() if with_peers else systems()[:1]:
        offers = system.load()
        if offers is None:
            records.append(report.absent("accuracy", system.name, system.install))
        else:
            loaded += [(system, *offer) for offer in offers]
    x64 = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        with report.progress(len(profiles), "accuracy") as tick:
            for profile in profiles:
                for ranges, at in cells(profile, shapes).items():
                    records += _cell(profile, ranges, at, radii(points), loaded)
                tick(profile.name)
    finally:
        jax.config.update("jax_enable_x64", x64)
    return records


def _cell(profile, ranges, at, x, loaded):
    """Records of all systems for one range of the shape parameters."""
    records, exact, versions = [], {}, report.versions(("lenstronomy", "jaxtronomy"))
    for system, backend, dtype, offered in loaded:
        # others ask for a core that is not zero
        if profile not in offered or (0 in ranges and system.name != "lenskern"):
            continue
        rounded = x.astype(dtype), at.astype(dtype)
        if dtype not in exact:
            exact[dtype] = _reference(profile, *rounded)
        values = offered[profile](rounded[0].ravel(), rounded[1])
        errors = {}
        for quantity, value, (reference, scale) in zip(QUANTITIES, values, exact[dtype], strict=True):
            if value is None:
                errors[quantity] = None
                continue
            wrong = _errors(np.asarray(value).reshape(len(at), *x.shape), reference, scale)
            errors[quantity] = [float(f"{np.max(wrong[:, i]):.3g}") for i in range(len(x))]
        records.append(
            report.record(
                benchmark="accuracy",
                case=profile.name,
                system=system.name,
                backend=backend,
                dtype=np.dtype(dtype).name,
                ranges=[list(part) if isinstance(part, tuple) else part for part in ranges],
                bins=list(BINS),
                errors=errors,
                versions=versions,
            )
        )
    return records


def _reference(profile, x, at):
    """(values, scale) of each quantity: object arrays (n, bins, points). The scale of the shear is that of the
    Jacobian, the larger of convergence and mean convergence."""
    from lenskern.bench import profile_oracle as oracle

    def point(p, q, x):
        u = oracle.mpf(float(x)) ** 2
        mean, local = (f(profile, u, float(p), float(q)) for f in (oracle.mean, oracle.local))
        return mean * oracle.mpf(float(x)), local, local - mean, max(mean, local)

    found = np.array([[[point(p, q, value) for value in row] for row in x] for p, q in at])
    deflection, local, shear, scale = np.moveaxis(found, -1, 0)
    # of a point mass there is none
    return (deflection, deflection), (local, local if local.all() else scale), (shear, scale)


def _errors(values, reference, scale):
    """Relative errors in float64, infinity for what is not finite."""
    from mpmath import mpf

    def one(value, exact, scale):
        return float(abs(mpf(float(value)) - exact) / scale) if np.isfinite(value) else np.inf

    return np.vectorize(one, otypes=[float])(values, reference, scale)


def text(records):
    """The tables for the terminal."""
    measured = [r for r in records if not r.get("absent")]
    lines = [_by_radius(measured), "", _by_shape(measured), _LEGEND]
    lines += [f"{r['system']} is not installed: {r['install']}" for r in records if r.get("absent")]
    return "\n".join(lines)


_LEGEND = """\
Largest relative errors against 40 digits; x = R / scale, with a scale of 1 arcsec. That of the shear is relative to the
larger of convergence and mean convergence, as in the Jacobian. First table: over three decades of the shape parameters,
d being errors of the deflection in parts of the range of x, the others in all of it. Second table: by core and
truncation over the scale radius (of DPIE, core over outer radius), of other systems near singularities of the textbook
formulas alone; 64 and 32 are the bits. -: not offered; inf: not finite."""


def _worst(records, quantity, bins=BINS):
    parts = [r["errors"][quantity] for r in records]
    if not parts or any(part is None for part in parts):
        return None
    # infinity is null in a file
    return max(np.inf if part[i] is None else part[i] for part in parts for i in map(BINS.index, bins))


def _shown(value):
    return None if value is None else report.error(value)


def _grouped(records, *names):
    groups = {}
    for r in records:
        groups.setdefault(tuple(str(r[name]) for name in names), []).append(r)
    return groups.items()


def _by_radius(records):
    columns = ("<profile", "<system", "<backend", "<dtype", *(f"d {name}" for name, _ in GROUPS), *QUANTITIES[1:])
    generic = [r for r in records if all(isinstance(part, list) for part in r["ranges"])]
    rows = [
        (
            *key,
            *(_shown(_worst(some, "deflection", group)) for _, group in GROUPS),
            *(_shown(_worst(some, quantity)) for quantity in QUANTITIES[1:]),
        )
        for key, some in _grouped(generic, "case", "system", "backend", "dtype")
    ]
    return report.table(columns, rows)


def _range(part):
    return "..".join(f"{10**bound:.2g}" for bound in part) if isinstance(part, list) else str(part)


def _by_shape(records):
    """lenskern by decades of the shape parameters, and all systems near what is singular in the textbook formulas."""
    shaped = [r for r in records if SHAPES[Profile[r["case"]]]]
    some = [r for r in shaped if r["system"] == "lenskern" or not all(isinstance(part, list) for part in r["ranges"])]
    dtypes = ("float64", "float32")
    columns = [f"{quantity} {dtype[5:]}" for dtype in dtypes for quantity in QUANTITIES]
    rows = []
    for (case, _, *system), group in _grouped(some, "case", "ranges", "system", "backend"):
        shown = dict(zip(SHAPES[Profile[case]], map(_range, group[0]["ranges"]), strict=True))
        errors = [
            _shown(_worst([r for r in group if r["dtype"] == dtype], quantity))
            for dtype in dtypes
            for quantity in QUANTITIES
        ]
        rows.append((case, shown.get("core"), shown.get("tau"), *system, *errors))
    return report.table(("<profile", "<core", "<truncation", "<system", "<backend", *columns), rows)
