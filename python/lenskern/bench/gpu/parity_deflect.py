"""Programs of `lenskern.deflect` that are compared with the reference."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import deflect
from lenskern.bench import deflect_systems, subhaloes

FIELDS = {
    "deflection": deflect.plane,
    "convergence": deflect.convergence,
    "potential": deflect.potential,
    "jacobian": deflect.jacobian,
}
REAL = ("centre", "amplitude", "scale", "shape")
TOLERANCES = {"float64": 1e-12, "float32": 5e-6}
DERIVATIVES = {"float64": 1e-9, "float32": 5e-5}


def programs(dtype, small, derivatives=True):
    """(name, function, arguments, tolerance) of each; see `parity.Program`.

    Parameters
    ----------
    dtype : str
    small : bool
        One halo kind, few rays and two programs.
    derivatives : bool
        Also derivatives, far fields, radial tables and power laws, which the Triton kernels leave to others.
    """
    rng = np.random.default_rng(0)
    halos, grid = population(rng, 60, dtype), square(37, dtype)
    if small:
        centre, radius, softening = (jnp.asarray(x, dtype) for x in _columns(rng, 9, 2))
        halos, grid = deflect.point_mass(centre, radius, softening), square(5, dtype)
    near, slope = TOLERANCES[dtype], DERIVATIVES[dtype]
    weights = jnp.asarray(rng.normal(size=grid.shape), dtype)
    yield "deflection", partial(_field, "deflection"), (halos, grid), near
    if derivatives:
        yield "gradient", _gradient, (halos, grid, weights), slope
    if small:
        return
    for name in ("convergence", "potential", "jacobian"):
        yield name, partial(_field, name), (halos, grid), near
    centre, kappa_s, scale, core, _ = (jnp.asarray(x, dtype) for x in _columns(rng, 40, 4))
    cored = deflect.tnfwc(centre, kappa_s, scale, 0.5 * core * scale, 4 * scale)
    yield "deflection, TNFWC", partial(_field, "deflection"), (cored, grid), near

    # Of two kinds, as it is the transforms that matter here, and a mixture compiles for long.
    few = [two_kinds(rng, 40, dtype) for _ in range(3)]
    three, grids = jax.tree.map(lambda *x: jnp.stack(x), *few), jnp.stack([grid, 0.5 * grid])
    yield "vmap over haloes", partial(_mapped, (0, None)), (three, grid), near
    yield "vmap over rays", partial(_mapped, (None, 0)), (few[0], grids), near
    yield "vmap of vmap, every pair", _every_pair, (three, grids), near
    planes = deflect_systems.planes(subhaloes.cone(30), np.dtype(dtype))
    yield "8 planes", _trace, (planes, jnp.asarray(subhaloes.rays(40), dtype)), 10 * near
    if not derivatives:
        return

    yield "gradient, TNFWC", _gradient, (cored, grid, weights), slope
    yield "tangent", _tangent, (halos, grid, weights), slope
    yield "vmap of the gradient", _mapped_gradient, (three, grid, weights), slope
    yield "gradient of the vmap, shared haloes", _shared_gradient, (few[0], grids, weights), slope
    many, fine = two_kinds(rng, 200, dtype), square(160, dtype)
    two = jax.tree.map(lambda x: jnp.stack([x, x]), many)
    yield "far field", partial(_field, "deflection"), (many, fine), near
    yield "far field, jacobian", partial(_field, "jacobian"), (many, fine), 10 * near
    yield "far field, gradient", _gradient, (many, fine, jnp.cos(7 * fine)), slope
    yield "far field, vmap over haloes", partial(_mapped, (0, None)), (two, fine), near
    radii, slopes = jnp.asarray([0.8, 1.2, 1.5], dtype), jnp.asarray([1.7, 2.0, 2.4], dtype)
    yield "power law, batch 3", _power_laws, (radii, slopes, grid), near
    yield "power law, gradient, batch 3", _power_law_gradients, (radii, slopes, grid, weights), slope
    yield "power law, tangent, batch 3", _power_law_tangents, (radii, slopes, grid, weights), slope
    if dtype == "float64":
        table = _table(rng)
        yield "radial tables", partial(_field, "deflection"), (table, grid), 1e-11
        yield "radial tables, gradient of the rays", _ray_gradient, (table, grid, weights), slope


def population(rng, n, dtype):
    """n haloes of each of seven kinds, and a masked one that holds nonsense."""
    columns = [_columns(rng, n, 4) for _ in range(7)]
    nfw, tnfw, cnfw, dpie, point, sis, sheet = (tuple(jnp.asarray(x, dtype) for x in c) for c in columns)
    halos = deflect.concatenate(
        [
            deflect.nfw(*nfw[:3]),
            deflect.tnfw(*tnfw[:4]),
            deflect.cnfw(*cnfw[:3], 0.3 * cnfw[2]),
            deflect.dpie(dpie[0], dpie[1], 0.05 * dpie[2], dpie[2]),
            deflect.point_mass(*point[:2], softening=0.1 * point[2]),
            deflect.sis(*sis[:2]),
            deflect.mass_sheet(sheet[0], -sheet[1]),
        ]
    )
    halos = halos.pad(len(halos) + 1)
    nonsense = {"centre": jnp.nan, "amplitude": jnp.inf, "scale": -1.0, "shape": jnp.nan}
    return dataclasses.replace(halos, **{k: getattr(halos, k).at[-1].set(v) for k, v in nonsense.items()})


def two_kinds(rng, n, dtype):
    """n haloes of each of two kinds."""
    tnfw, sis = (tuple(jnp.asarray(x, dtype) for x in _columns(rng, n, 4)) for _ in range(2))
    return deflect.concatenate([deflect.tnfw(*tnfw[:4]), deflect.sis(*sis[:2])])


def _columns(rng, n, lengths):
    """Centres, amplitudes and positive lengths."""
    centre = rng.uniform(-2, 2, (n, 2))
    return centre, np.exp(rng.uniform(-7, -3, n)), *np.exp(rng.uniform(-3, 0, (lengths - 1, n)))


def _table(rng):
    tables = deflect.tables.from_mean_convergence(lambda x, core: 4 / (core + x) ** 2, jnp.array([0.1, 0.3]))
    centre = jnp.asarray(rng.uniform(-2, 2, (30, 2)))
    return deflect.from_table(centre, 0.01, 0.5, tables, index=jnp.arange(30) % 2)


def square(n, dtype):
    """Rays (n, n, 2) of a field of 4 arcsec; none of them is special."""
    x = (np.arange(n) + 0.5) / n * 4 - 2 + 1e-3
    return jnp.asarray(np.stack(np.meshgrid(x, x, indexing="ij"), -1), dtype)


def _field(name, backend, halos, grid):
    return FIELDS[name](halos, grid, backend=backend)


def _mapped(axes, backend, halos, grid):
    return jax.vmap(partial(deflect.plane, backend=backend), axes)(halos, grid)


def _every_pair(backend, halos, grids):
    one = partial(deflect.plane, backend=backend)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(halos, grids)


def _put(halos, values):
    return dataclasses.replace(halos, **dict(zip(REAL, values, strict=True)))


def _real(halos):
    return tuple(getattr(halos, name) for name in REAL)


def _gradient(backend, halos, grid, weights):
    def total(values, grid):
        return jnp.sum(weights * deflect.plane(_put(halos, values), grid, backend=backend))

    return jax.grad(total, (0, 1))(_real(halos), grid)


def _ray_gradient(backend, halos, grid, weights):
    return jax.grad(lambda grid: jnp.sum(weights * deflect.plane(halos, grid, backend=backend)))(grid)


def _mapped_gradient(backend, halos, grid, weights):
    return jax.vmap(partial(_gradient, backend), (0, None, None))(halos, grid, weights)


def _shared_gradient(backend, halos, grids, weights):
    def total(values, grids):
        one = jax.vmap(lambda grid: jnp.sum(weights * deflect.plane(_put(halos, values), grid, backend=backend)))
        return jnp.sum(one(grids))

    return jax.grad(total, (0, 1))(_real(halos), grids)


def _tangent(backend, halos, grid, along):
    def function(values, grid):
        return deflect.plane(_put(halos, values), grid, backend=backend)

    values = _real(halos)
    directions = tuple(jnp.where(jnp.isfinite(x), x, 0) for x in values)
    return jax.jvp(function, (values, grid), (directions, along))[1]


def _power_laws(backend, radii, slopes, grid):
    def deflection(radius, slope):
        lens = deflect.PowerLaw((0.02, -0.05), (0.1, 0.05), radius, slope)
        return lens.deflection(grid, backend=backend)

    return jax.vmap(deflection)(radii, slopes)


def _power_law_gradients(backend, radii, slopes, grid, weights):
    def total(radii, slopes, grid):
        return jnp.sum(weights * _power_laws(backend, radii, slopes, grid))

    return jax.grad(total, (0, 1, 2))(radii, slopes, grid)


def _power_law_tangents(backend, radii, slopes, grid, along):
    function = partial(_power_laws, backend)
    return jax.jvp(function, (radii, slopes, grid), (radii, slopes, along))[1]


def _trace(backend, planes, grid):
    return deflect.trace(planes, grid, backend=backend)
