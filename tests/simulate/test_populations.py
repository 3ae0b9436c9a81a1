"""Subhaloes and haloes of the line of sight: numbers, positions, masses in sheets, transforms, and what is refused."""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats

from lenskern import deflect, simulate
from lenskern.deflect import cosmology as distances
from lenskern.simulate.halo_model import ConcentrationTable
from lenskern.simulate.population import default_capacity

WORLD = deflect.flat_lambda_cdm(67.74, 0.3089)
LENS, SOURCE = 0.5, 1.5
# Chance of each statistical test to fail were its key drawn anew; all together fail once in 5e4 such runs.
ALARM = 1e-6
KEY = jax.random.key(4)
SIGMAS = stats.norm.isf(ALARM / 2)


def power_law(mass, redshift):
    """A mass function that needs no power spectrum, per Mpc³ and ln m."""
    return 7.0 * (mass / 1e8) ** -0.9 * (1 + redshift) ** 0.3


@pytest.fixture(scope="module")
def cone():
    return simulate.LineOfSight.create(
        LENS,
        SOURCE,
        WORLD,
        redshifts=(0.25, 0.5, 0.9),
        region=simulate.Disc(20.0),
        mass_range=(1e7, 1e9),
        mass_function=power_law,
        amplitude=0.02,
    )


@pytest.fixture(scope="module")
def subhalos():
    warm = simulate.WarmSuppression.lovell20_subhalos(7.5)
    return simulate.Subhalos.create(LENS, SOURCE, WORLD, number=25.0, suppression=warm)


@pytest.fixture(scope="module")
def draws(cone):
    keys = jnp.concatenate([jax.random.split(jax.random.key(1), 1000), jax.random.split(KEY)[:1]])
    return jax.jit(jax.vmap(cone.draw))(keys)


def test_numbers_on_planes(cone, draws):
    """The slab of each plane holds (dn/d ln m) dV per steradian; the region closes behind the lens."""
    assert cone.capacity == default_capacity(float(cone.mean_numbers().max()))
    assert (draws.overflow == 0).all()
    middle = [distances.comoving_distance(WORLD, z) for z in cone.redshifts]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(middle))]
    edges.append(distances.comoving_distance(WORLD, SOURCE))
    ratio = distances.angular_diameter_distance_between(WORLD, LENS, 0.9) / distances.angular_diameter_distance(
        WORLD, 0.9
    )
    ratio /= distances.angular_diameter_distance_between(WORLD, LENS, SOURCE)
    ratio *= distances.angular_diameter_distance(WORLD, SOURCE)
    for i, stretch in enumerate((1, 1, 1 - 0.95 * ratio)):
        volume = (edges[i + 1] ** 3 - edges[i] ** 3) / 3 * math.pi * (20 * stretch * math.pi / 180 / 3600) ** 2
        per_volume = power_law(1e8, cone.redshifts[i]) * (0.1**-0.9 - 10**-0.9) / 0.9
        mean = 0.02 * volume * per_volume
        np.testing.assert_allclose(cone.mean_numbers()[i], mean, rtol=1e-10)
        counts = np.asarray(draws.halos.mask[:, i].sum(-1))
        assert abs(counts.mean() - mean) < SIGMAS * math.sqrt(mean / len(counts))
        assert stats.chi2(len(counts) - 1).sf(counts.var() * len(counts) / mean) > ALARM
        radii = np.linalg.norm(np.asarray(draws.halos.centre[:, i]), axis=-1)
        assert stats.kstest((radii / (20 * stretch)).ravel() ** 2, "uniform").pvalue > ALARM


def test_sheets_make_up_for_the_haloes(cone, draws):
    """They have the mean convergence of many draws, by total masses and by the deflection around a circle."""
    for i, z in enumerate(cone.redshifts):
        c, tau = draws.concentration[:, i], draws.halos.shape[:, i, :, 0]
        total = jnp.where(draws.halos.mask[:, i], deflect.total_mass(draws.mass[:, i], c, tau), 0).sum(-1)
        density = distances.critical_surface_density(WORLD, z, SOURCE, unit="arcsec")
        kappa = np.asarray(total / (density * math.pi * (20 * cone.stretch[i]) ** 2))
        np.testing.assert_array_equal(draws.sheet[:, i], draws.sheet[0, i])
        error = kappa.std() / math.sqrt(len(kappa))
        assert error < 0.05 * kappa.mean()
        assert abs(kappa.mean() + draws.sheet[0, i]) < SIGMAS * error

    # ⟨κ⟩ inside a circle is ⟨α_r⟩/R. The largest haloes end at 5 arcsec, inside of the margin around it.
    angle = jnp.linspace(0, 2 * math.pi, 48, endpoint=False)
    outward = jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)
    flux = jax.jit(jax.vmap(lambda h: (deflect.plane(h, 12.0 * outward) * outward).sum(-1).mean()))
    kappa = np.asarray(flux(jax.tree.map(lambda x: x[:500, 1], draws.halos))) / 12.0
    error = kappa.std() / math.sqrt(len(kappa))
    assert error < 0.05 * kappa.mean()
    assert abs(kappa.mean() + draws.sheet[0, 1]) < SIGMAS * error


def test_subhalos(subhalos):
    keys = jax.random.split(jax.random.key(2), 1500)
    some = jax.jit(jax.vmap(subhalos.draw))(keys)
    counts = np.asarray(some.halos.mask.sum(-1))
    assert (some.overflow == 0).all()
    assert abs(counts.mean() - 25) < SIGMAS * math.sqrt(25 / len(counts))
    assert stats.chi2(len(counts) - 1).sf(counts.var() * len(counts) / 25) > ALARM

    def density(x):
        return math.exp(-0.9 * x) * (1 + (4.2 * 10**7.5 / math.exp(x)) ** 2.5) ** -0.2

    grid = np.linspace(math.log(1e6), math.log(1e10), 4001)
    inside = integrate.cumulative_simpson([density(x) for x in grid], x=grid, initial=0)
    mask = np.asarray(some.halos.mask)
    share = np.interp(np.log(np.asarray(some.mass)[mask]), grid, inside / inside[-1])
    assert stats.kstest(share, "uniform").pvalue > ALARM

    # The number of the heavier half says nothing about that of the lighter one.
    heavy = (np.asarray(some.mass) > np.median(np.asarray(some.mass)[mask])) & mask
    heavy = heavy.sum(-1)
    assert abs(np.corrcoef(heavy, counts - heavy)[0, 1]) < SIGMAS / math.sqrt(len(counts))

    # The scatter of the concentration is Gaussian in the logarithm, about the relation.
    mask = mask[:100]
    c, mass = np.asarray(some.concentration)[:100][mask], np.asarray(some.mass)[:100][mask]
    median = subhalos.relation.median(mass) * subhalos.suppression.concentration(mass, LENS)
    assert stats.kstest(np.log10(c / median) / 0.15, "norm").pvalue > ALARM
    # The truncation radius is r₁₀₀.
    tau = np.asarray(some.halos.shape[:100, :, 0])[mask]
    for one, of in zip(c[:5], tau[:5], strict=True):
        excess = lambda x: (math.log1p(x) - x / (1 + x)) / x**3 * 2 - (math.log1p(one) - one / (1 + one)) / one**3  # noqa: B023, E731
        np.testing.assert_allclose(of, optimize.brentq(excess, 0.1, 1e3, xtol=1e-13), rtol=1e-11)


def test_amounts_of_subhalos(subhalos):
    """The three ways of saying how many subhaloes there are agree."""
    plain = subhalos.replace(suppression=None, sigma_sub=0.01)
    area = 9 * math.pi / distances.arcsec_per_kpc(WORLD, LENS) ** 2
    number = 0.01 * area * (0.01**-0.9 - 100**-0.9) / 0.9
    mean = jax.jit(simulate.Subhalos.mean_number)
    np.testing.assert_allclose(mean(plain), number, rtol=1e-12)
    np.testing.assert_allclose(mean(plain.replace(number=number)), number, rtol=1e-12)
    sheet = jax.jit(lambda s: s.draw(jax.random.key(0)).sheet)
    fraction = plain.replace(fraction=0.02, host_convergence=0.4)
    np.testing.assert_allclose(sheet(fraction), -0.008, rtol=1e-12)
    again = plain.replace(sigma_sub=mean(fraction) / number * 0.01)
    np.testing.assert_allclose(sheet(again), -0.008, rtol=1e-12)


@pytest.mark.parametrize("kind", ["rectangle", "nfw"])
def test_regions(kind):
    if kind == "rectangle":
        region = simulate.Rectangle(4.0, 2.0, (0.5, -0.3))
        y, x = np.asarray(region.positions(jax.random.uniform(jax.random.key(0), (20000, 2)))).T
        assert stats.kstest((y + 1.5) / 4, "uniform").pvalue > ALARM
        assert stats.kstest((x + 1.3) / 2, "uniform").pvalue > ALARM
        assert region.area() == 8
        return
    region = simulate.ProjectedNFW(3.0, 1.7, (0.5, -0.3))
    y, x = np.asarray(region.positions(jax.random.uniform(jax.random.key(0), (20000, 2)))).T
    radius, angle = np.hypot(y - 0.5, x + 0.3), np.arctan2(y - 0.5, x + 0.3)

    def mass(x):
        root = np.emath.sqrt(1 - x**2)
        return np.log(x / 2) + (np.arccosh(1 / x + 0j) / root).real

    assert radius.max() < 3 * (1 + 1e-12)
    assert stats.kstest(mass(radius / 1.7) / mass(3 / 1.7), "uniform").pvalue > ALARM
    assert stats.kstest(angle / (2 * math.pi) + 0.5, "uniform").pvalue > ALARM


def test_concentration_table():
    """The table is the relation to 1e-6 over six decades of mass."""
    table = ConcentrationTable.create(deflect.ludlow16_concentration, (1e5, 1e11), 0.5, jnp.float64)
    mass = np.logspace(5.03, 10.98, 14)
    expected = deflect.ludlow16_concentration(jnp.asarray(mass), jnp.full(14, 0.5))
    np.testing.assert_allclose(table.median(mass), expected, rtol=1e-6)
    assert jnp.isnan(table.median(jnp.array([0.9e5, 1.1e11]))).all()


def scene(key, theta, subhalos, cone, **options):
    warm = simulate.WarmSuppression.lovell20_subhalos(theta["log10_half_mode"])
    return simulate.substructure(
        key,
        macros=[deflect.Isothermal(einstein_radius=theta["einstein_radius"])],
        subhalos=subhalos.replace(number=theta["number"], suppression=warm),
        line_of_sight=cone.replace(amplitude=theta["amplitude"], tilt=theta["tilt"]),
        **options,
    )


THETA = {"number": 20.0, "log10_half_mode": 7.0, "amplitude": 0.02, "tilt": 0.0, "einstein_radius": 1.2}


def test_theta_to_planes_in_one_jit(cone, subhalos, draws):
    """By one program for all thetas; what is drawn alone is what is drawn in a batch."""
    programs = []

    @jax.jit
    def planes(key, theta):
        programs.append(None)
        kept = scene(key, theta, subhalos, cone, overflow="drop")
        return scene(key, theta, subhalos, cone), kept.planes.sheets

    (lens, _), (other, _), (full, kept) = (planes(KEY, THETA | {"number": number}) for number in (20.0, 33.0, 300.0))
    assert len(programs) == 1
    # Too many haloes are not left out silently.
    assert full.overflow > 150 and jnp.isnan(full.planes.sheets).all() and jnp.isfinite(kept).all()
    assert lens.overflow == 0 and other.overflow == 0
    assert len(lens.planes) == 3
    np.testing.assert_allclose(lens.planes.sheets - lens.line_of_sight.sheet, [0, lens.subhalos.sheet, 0], atol=1e-18)
    count = lens.subhalos.halos.mask.sum() + lens.line_of_sight.halos.mask.sum()
    assert lens.planes.halos.mask.sum() == count
    # The last draw of the batch has the key that the line of sight has here.
    for alone, batch in zip(jax.tree.leaves(lens.line_of_sight), jax.tree.leaves(draws), strict=True):
        np.testing.assert_allclose(alone, batch[-1], rtol=1e-12)
    # More subhaloes are all of those there were, each a bit heavier, and lighter ones.
    first = lens.subhalos.halos.mask
    assert (other.subhalos.mass > lens.subhalos.mass)[first].all()
    np.testing.assert_array_equal(other.subhalos.halos.centre[first], lens.subhalos.halos.centre[first])


def test_gradients(subhalos):
    """At a fixed key, against differences too small for a halo to enter."""

    def moment(theta):
        warm = simulate.WarmSuppression.lovell20_subhalos(theta["log10_half_mode"])
        model = simulate.HaloModel(theta["scatter"], simulate.Truncation(theta["overdensity"]))
        some = subhalos.replace(number=theta["number"], slope=theta["slope"], suppression=warm, model=model).draw(KEY)
        halos = some.halos
        mass = halos.amplitude * halos.scale**2 * (1 + halos.centre.sum(-1)) * jnp.log1p(halos.shape[:, 0])
        return jnp.where(halos.mask, mass, 0).sum() + some.sheet

    theta = {"number": 20.0, "log10_half_mode": 7.0, "slope": -1.9, "scatter": 0.1, "overdensity": 150.0}
    steps = {name: 1e-6 * abs(x) for name, x in theta.items()}
    shifted = [theta | {name: theta[name] + sign * step} for name, step in steps.items() for sign in (1, -1)]
    stack = jax.tree.map(lambda *x: jnp.stack(x), theta, *shifted)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(moment)))(stack)
    for i, (name, step) in enumerate(steps.items()):
        difference = (values[1 + 2 * i] - values[2 + 2 * i]) / (2 * step)
        np.testing.assert_allclose(slopes[name][0], difference, rtol=1e-6)
        assert difference != 0


def test_other_profiles(subhalos):
    """Cored haloes, and haloes of a callable, whose mass is measured by their deflection far away."""

    def profile(centre, mass, concentration, tau, *place):
        return deflect.from_m200_concentration(centre, mass, concentration, *place, tau=tau)

    def draw(model, sheet=True):
        return subhalos.replace(model=model, sheet=sheet).draw(jax.random.key(0))

    truncation = simulate.Truncation(5.0, "r_s", scatter_dex=0.1)
    plain, mine = jax.jit(
        lambda: [draw(simulate.HaloModel(truncation=truncation, profile=x)) for x in (None, profile)]
    )()
    np.testing.assert_array_equal(mine.halos.amplitude, plain.halos.amplitude)
    np.testing.assert_allclose(mine.sheet, plain.sheet, rtol=1e-6)
    assert plain.halos.mask.sum() > 9
    np.testing.assert_allclose(np.std(np.log10(plain.halos.shape[:, 0] / 5)), 0.1, rtol=0.5)
    for model, kind in [
        (simulate.HaloModel(core_fraction=0.1), deflect.Profile.TNFWC),
        (simulate.HaloModel(truncation=None), deflect.Profile.NFW),
    ]:
        halos = jax.eval_shape(lambda: draw(model, model.truncation is not None)).halos  # noqa: B023
        assert halos.profiles == (kind,)


def test_planes_of_a_line_of_sight():
    z = simulate.plane_redshifts(LENS, SOURCE, WORLD, 8)
    assert len(z) == 8 and LENS in z
    chi = np.diff([0, *np.asarray(distances.comoving_distance(WORLD, np.array(z)))])
    np.testing.assert_allclose(chi[: z.index(LENS) + 1], chi[0], rtol=1e-9)
    np.testing.assert_allclose(chi[z.index(LENS) + 1 :], chi[-1], rtol=1e-9)
    # A table of a mass function, with other masses than those of the nodes.
    masses, values = np.array([1e5, 3e7, 1e12]), np.array([1e4, 10.0, 1e-3])
    ours = simulate.LineOfSight.create(
        LENS, SOURCE, WORLD, redshifts=z[:1], geometry="cylinder", mass_function=(masses, values), capacity=8
    )
    lens = distances.comoving_distance(WORLD, LENS)
    np.testing.assert_allclose(ours.stretch, lens / chi[0], rtol=1e-9)
    bins = np.log([1e6, 3e7, 1e10])
    slopes = np.diff(np.log(values)) / np.diff(np.log(masses))
    number = sum(
        integrate.quad(lambda x: 10.0 * math.exp(s * (x - bins[1])), *pair)[0]  # noqa: B023
        for s, pair in zip(slopes, pairwise(bins), strict=True)
    )
    volume = distances.comoving_distance(WORLD, SOURCE) ** 3 / 3
    area = math.pi * (3 * ours.stretch[0] * math.pi / 180 / 3600) ** 2
    np.testing.assert_allclose(ours.mean_numbers()[0], number * volume * area, rtol=1e-9)


def test_bad_input(cone, subhalos):
    create = lambda **kw: simulate.Subhalos.create(LENS, SOURCE, WORLD, **kw)  # noqa: E731
    along = lambda **kw: simulate.LineOfSight.create(LENS, SOURCE, WORLD, **kw)  # noqa: E731
    key = jax.random.key(0)
    for call, name in [
        (lambda: simulate.Subhalos.create(1.5, 0.5, WORLD), "source_redshift"),
        (lambda: create(mass_range=(1e9, 1e8)), "mass_range"),
        (lambda: create(mass_range=3.0), "mass_range"),
        (lambda: create(sigma_sub=0.1, number=3.0), "number"),
        (lambda: create(capacity=0), "capacity"),
        (lambda: create(relation=lambda m, z: -m), "relation"),
        (lambda: subhalos.replace(model=simulate.HaloModel(truncation=None)), "sheet"),
        (lambda: subhalos.replace(model=simulate.HaloModel(truncation=simulate.Truncation(-1.0, "r_s"))), "truncation"),
        (lambda: cone.replace(model=simulate.HaloModel(core_fraction=-0.1)), "core_fraction"),
        (lambda: subhalos.replace(number=3.0, fraction=0.1), "fraction"),
        (lambda: simulate.Truncation(3.0, "kpc"), "of"),
        (lambda: along(closing=2.0), "closing"),
        (lambda: along(geometry="sphere"), "geometry"),
        (lambda: along(redshifts=(0.5, 0.3)), "redshifts"),
        (lambda: along(redshifts=(0.5,), boundaries=(0.1,)), "boundaries"),
        (lambda: along(redshifts=(0.5,), mass_function=3.0), "mass_function"),
        (lambda: along(redshifts=(0.5,), mass_function=([1e8, 1e9], [1.0, 0.1])), "mass_function"),
        (lambda: along(redshifts=(0.5,), mass_function=lambda m, z: -m), "mass_function"),
        (lambda: simulate.substructure(key), "subhalos"),
        (lambda: simulate.substructure(key, subhalos=cone), "subhalos"),
        (lambda: simulate.substructure(key, subhalos=subhalos, overflow="warn"), "overflow"),
    ]:
        with pytest.raises(ValueError, match=rf"^{name}: got"):
            call()
    other = simulate.Subhalos.create(0.4, SOURCE, WORLD, capacity=8)
    with pytest.raises(ValueError, match="^line_of_sight: got redshifts"):
        simulate.substructure(key, subhalos=other, line_of_sight=cone)
