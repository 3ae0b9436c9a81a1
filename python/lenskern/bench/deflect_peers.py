"""Other programs that deflect rays by many truncated NFW haloes, each called as its users call it.

Angles are in arcsec and in (y, x) order; kappa_s is rho_s r_s / Sigma_cr for the source of the system.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern.bench import subhaloes


@dataclass(frozen=True)
class Calls:
    """What a peer offers.

    Parameters
    ----------
    plane : callable
        ``plane(haloes, rays)`` sets up one plane and returns a call without arguments, which gives the deflection, an
        array of shape (n, 2).
    trace : callable, optional
        ``trace(cone, rays)`` likewise for the positions on the source plane of a light cone.
    gradient : callable, optional
        ``gradient(haloes, rays, weights)`` likewise for the value and the derivatives of sum(weights * deflection) with
        respect to the peer's own parameters of every halo and to the rays; the last result is that of the rays.
    batch : callable, optional
        ``batch(catalogues, rays)`` likewise for the deflections by each of several catalogues, shape (batch, n, 2).
    """

    plane: Callable
    trace: Callable | None = None
    gradient: Callable | None = None
    batch: Callable | None = None


@dataclass(frozen=True)
class Peer:
    """A program to compare with.

    Parameters
    ----------
    name, backend, dtype : str
        Its package, and what it computes with.
    install : str
        The command that installs it.
    make : callable
        Imports it and returns its `Calls`.
    """

    name: str
    backend: str
    dtype: str
    install: str
    make: Callable

    def load(self):
        """`Calls`, or None where the package is not installed."""
        # Started before a package is imported that sets XLA's flags for the whole process.
        jax.devices()
        try:
            return self.make()
        except ImportError:
            return None


def peers():
    """All known peers: list of Peer."""
    paltax = "pip install git+https://github.com/swagnercarena/paltax"
    return [
        Peer("jaxtronomy", "jax", "float64", "pip install jaxtronomy", _jaxtronomy),
        Peer("lenstronomy", "numpy", "float64", "pip install lenstronomy", _lenstronomy),
        Peer("caustics", "torch", "float64", "pip install caustics", _caustics),
        Peer("autolens", "numpy", "float64", "pip install autolens", _autolens_numpy),
        Peer("autolens", "jax", "float64", "pip install autolens", _autolens_jax),
        Peer("paltax", "jax", "float32", paltax, _paltax),
    ]


def _yx(x, y):
    return np.stack([np.asarray(y), np.asarray(x)], -1)


def _astropy_cosmology():
    from astropy.cosmology import FlatLambdaCDM

    return FlatLambdaCDM(H0=subhaloes.H0, Om0=subhaloes.OMEGA_M, Tcmb0=0)


def _keywords(haloes):
    """Halo parameters in the convention of lenstronomy: deflection of the untruncated halo at r_s, and centres."""
    return {
        "Rs": haloes.scale_radius,
        "alpha_Rs": 4 * haloes.kappa_s * haloes.scale_radius * (1 - np.log(2)),
        "r_trunc": haloes.truncation_radius,
        "center_x": haloes.centre[:, 1],
        "center_y": haloes.centre[:, 0],
    }


def _keyword_list(haloes):
    columns = _keywords(haloes)
    return [dict(zip(columns, row, strict=True)) for row in zip(*map(np.ndarray.tolist, columns.values()), strict=True)]


def _lens_list(cone):
    """(models, redshifts, keywords) of all deflectors of a cone, in the convention of lenstronomy."""
    lens = cone.power_law
    f = (1 - lens.axis_ratio) / (1 + lens.axis_ratio)
    redshift = cone.redshifts[cone.lens_plane]
    models, redshifts = ["EPL", "SHEAR"], [redshift, redshift]
    keywords = [
        {
            "theta_E": lens.einstein_radius,
            "gamma": lens.slope,
            "e1": f * np.cos(2 * lens.angle),
            "e2": f * np.sin(2 * lens.angle),
            "center_x": lens.centre[1],
            "center_y": lens.centre[0],
        },
        {"gamma1": cone.shear[0], "gamma2": cone.shear[1]},
    ]
    for z, haloes in zip(cone.redshifts, cone.haloes, strict=True):
        models += ["TNFW"] * len(haloes)
        redshifts += [z] * len(haloes)
        keywords += _keyword_list(haloes)
    return models, redshifts, keywords


def _jaxtronomy():
    from jaxtronomy.LensModel.lens_model_bulk import LensModelBulk

    single = LensModelBulk(["TNFW"], multi_plane=False)

    def prepare(haloes):
        return single.prepare_ray_shooting_kwargs(["TNFW"] * len(haloes), _keyword_list(haloes))

    @jax.jit
    def deflection(prepared, rays):
        x, y = single.ray_shooting(rays[:, 1], rays[:, 0], prepared)
        return rays - jnp.stack([y, x], -1)

    def plane(haloes, rays):
        return partial(deflection, jax.tree.map(jnp.asarray, prepare(haloes)), jnp.asarray(rays))

    def gradient(haloes, rays, weights):
        prepared = jax.tree.map(jnp.asarray, prepare(haloes))

        @jax.jit
        @partial(jax.value_and_grad, argnums=(0, 1))
        def function(parameters, rays):
            return jnp.sum(weights * deflection(prepared | {"all_kwargs": parameters}, rays))

        return partial(_flat, function, prepared["all_kwargs"], jnp.asarray(rays))

    def trace(cone, rays):
        cosmology = _astropy_cosmology()
        model = LensModelBulk(["TNFW", "EPL", "SHEAR"], multi_plane=True, cosmo=cosmology)
        models, redshifts, keywords = _lens_list(cone)
        prepared = model.prepare_ray_shooting_kwargs(models, keywords, cone.source_redshift, redshifts)
        y, x = (jnp.asarray(a) for a in rays.T)

        @jax.jit
        def positions(prepared, x, y):
            return jnp.stack(model.ray_shooting(x, y, prepared)[::-1], -1)

        return partial(positions, jax.tree.map(jnp.asarray, prepared), x, y)

    return Calls(plane, trace, gradient)


def _flat(function, parameters, rays):
    value, (of_parameters, of_rays) = function(parameters, rays)
    return value, of_parameters, of_rays


def _lenstronomy():
    from lenstronomy.LensModel.lens_model import LensModel

    def plane(haloes, rays):
        model, keywords = LensModel(["TNFW"] * len(haloes)), _keyword_list(haloes)
        y, x = rays.T.copy()
        return lambda: _yx(*model.alpha(x, y, keywords))

    def trace(cone, rays):
        models, redshifts, keywords = _lens_list(cone)
        model = LensModel(
            models,
            z_source=cone.source_redshift,
            lens_redshift_list=redshifts,
            cosmo=_astropy_cosmology(),
            multi_plane=True,
        )
        y, x = rays.T.copy()
        return lambda: _yx(*model.ray_shooting(x, y, keywords))

    return Calls(plane, trace)


def _caustics():
    import caustics
    import torch

    def tensor(a):
        return torch.tensor(np.asarray(a, np.float64))

    cosmology = caustics.FlatLambdaCDM(h0=subhaloes.H0 / 100, Om0=subhaloes.OMEGA_M)
    cosmology.to(dtype=torch.float64)

    def parameters(haloes, z_l, z_s):
        """x, y, total mass in Msun, r_s, tau: with caustics' own distances, so that they cancel."""
        tau = haloes.truncation_radius / haloes.scale_radius
        of_all = (tau / (tau**2 + 1)) ** 2 * ((tau**2 - 1) * np.log(tau) + np.pi * tau - (tau**2 + 1))
        z_l, z_s = tensor(z_l), tensor(z_s)
        length = float(cosmology.angular_diameter_distance(z_l)) * caustics.constants.arcsec_to_rad
        sigma_cr = float(cosmology.critical_surface_density(z_l, z_s))
        mass = 4 * np.pi * haloes.kappa_s * sigma_cr * (haloes.scale_radius * length) ** 2 * of_all
        columns = haloes.centre[:, 1], haloes.centre[:, 0], mass, haloes.scale_radius, tau
        return dict(zip(("x0", "y0", "mass", "Rs", "tau"), map(tensor, columns), strict=True))

    def halo_plane(halo_parameters, rays, **options):
        inner = caustics.TNFW(cosmology, **halo_parameters)
        inner.to_dynamic()
        # The fastest of several sizes: intermediate results stay in the cache.
        chunk = max(1, round(4e5 / max(1, len(rays))))
        return caustics.BatchedPlane(cosmology, inner, chunk_size=chunk, **options)

    def plane(haloes, rays):
        lens = halo_plane(parameters(haloes, 0.5, 2.0), rays, z_l=0.5, z_s=2.0)
        values, y, x = lens.get_values(), tensor(rays[:, 0]), tensor(rays[:, 1])

        def call():
            with torch.no_grad():
                return _yx(*lens.reduced_deflection_angle(x, y, values))

        return call

    def gradient(haloes, rays, weights):
        lens = halo_plane(parameters(haloes, 0.5, 2.0), rays, z_l=0.5, z_s=2.0)
        leaves = [lens.get_values(), tensor(rays[:, 0]), tensor(rays[:, 1])]
        for leaf in leaves:
            leaf.requires_grad_()
        of_y, of_x = tensor(weights[:, 0]), tensor(weights[:, 1])

        def call():
            ax, ay = lens.reduced_deflection_angle(leaves[2], leaves[1], leaves[0])
            value = (of_x * ax + of_y * ay).sum()
            of_values, gy, gx = torch.autograd.grad(value, leaves)
            return value.item(), of_values.numpy(), _yx(gx, gy)

        return call

    def trace(cone, rays):
        z_s, lens = cone.source_redshift, cone.power_law
        z_l = cone.redshifts[cone.lens_plane]
        lenses = [
            caustics.EPL(
                cosmology,
                z_l=z_l,
                x0=lens.centre[1],
                y0=lens.centre[0],
                q=lens.axis_ratio,
                phi=lens.angle,
                Rein=lens.einstein_radius,
                t=lens.slope - 1,
            ),
            caustics.ExternalShear(cosmology, z_l=z_l, x0=0.0, y0=0.0, gamma_1=cone.shear[0], gamma_2=cone.shear[1]),
        ]
        for index, (z, haloes) in enumerate(zip(cone.redshifts, cone.haloes, strict=True)):
            lenses.append(halo_plane(parameters(haloes, z, z_s), rays, z_l=z, name=f"plane_{index}"))
        model = caustics.Multiplane(cosmology=cosmology, lenses=lenses, z_s=z_s)
        model.to(dtype=torch.float64)
        values, y, x = model.get_values(), tensor(rays[:, 0]), tensor(rays[:, 1])

        def call():
            with torch.no_grad():
                return _yx(*model.raytrace(x, y, values))

        return call

    return Calls(plane, trace, gradient)


def _autolens_profiles(al, haloes):
    columns = haloes.centre.tolist(), haloes.kappa_s, haloes.scale_radius, haloes.truncation_radius
    return [
        al.mp.NFWTruncatedSph(tuple(centre), float(kappa_s), float(scale), float(truncation))
        for centre, kappa_s, scale, truncation in zip(*columns, strict=True)
    ]


def _autolens_lens(al, cone):
    lens, q = cone.power_law, cone.power_law.axis_ratio
    f = (1 - q) / (1 + q)
    # Its Einstein radius is defined on the major axis.
    radius = lens.einstein_radius * ((1 + q) / 2) ** (1 / (lens.slope - 1)) / np.sqrt(q)
    ell_comps = (f * np.sin(2 * lens.angle), f * np.cos(2 * lens.angle))
    return al.mp.PowerLaw(lens.centre, ell_comps, radius, lens.slope), al.mp.ExternalShear(*cone.shear)


def _autolens_cosmology(al):
    return al.cosmo.FlatLambdaCDM(H0=subhaloes.H0, Om0=subhaloes.OMEGA_M, Tcmb0=0.0, Neff=0.0)


def _autolens_numpy():
    import autolens as al
    from autogalaxy.profiles.mass.abstract.deflections_memo import memo_disabled

    def galaxy(redshift, profiles):
        return al.Galaxy(redshift=redshift, **{f"mass_{i}": profile for i, profile in enumerate(profiles)})

    def plane(haloes, rays):
        lens, grid = galaxy(0.5, _autolens_profiles(al, haloes)), al.Grid2DIrregular(values=rays)

        def call():
            # It would give back what it computed for the same haloes and rays before.
            with memo_disabled():
                return np.asarray(lens.deflections_yx_2d_from(grid=grid).array)

        return call

    def trace(cone, rays):
        galaxies = [
            galaxy(z, _autolens_profiles(al, h) + list(_autolens_lens(al, cone) if i == cone.lens_plane else ()))
            for i, (z, h) in enumerate(zip(cone.redshifts, cone.haloes, strict=True))
        ]
        source = al.Galaxy(redshift=cone.source_redshift, light=al.lp.SersicSph())
        tracer = al.Tracer(galaxies=[*galaxies, source], cosmology=_autolens_cosmology(al))
        grid = al.Grid2DIrregular(values=rays)

        def call():
            with memo_disabled():
                return np.asarray(tracer.traced_grid_2d_list_from(grid=grid)[-1].array)

        return call

    return Calls(plane, trace)


def _autolens_jax():
    import autolens as al
    from autolens.lens.substructure_util import precompute_scaling_matrix, traced_grids_via_scan

    profile = al.mp.NFWTruncatedSph

    def batch(haloes):
        columns = haloes.kappa_s, haloes.scale_radius, haloes.truncation_radius
        return jnp.concatenate([haloes.centre, jnp.stack(columns, -1)], -1)

    deflection = jax.jit(lambda parameters, mask, rays: profile.vmapped_deflections_from(rays, parameters, mask))

    def plane(haloes, rays):
        return partial(deflection, batch(haloes), jnp.ones(len(haloes), bool), jnp.asarray(rays))

    def gradient(haloes, rays, weights):
        mask = jnp.ones(len(haloes), bool)

        @jax.jit
        @partial(jax.value_and_grad, argnums=(0, 1))
        def function(parameters, rays):
            return jnp.sum(weights * deflection(parameters, mask, rays))

        return partial(_flat, function, batch(haloes), jnp.asarray(rays))

    def trace(cone, rays):
        redshifts = (*cone.redshifts, cone.source_redshift)
        most = max(map(len, cone.haloes))
        parameters, mask = np.zeros((len(redshifts), most, 5)), np.zeros((len(redshifts), most), bool)
        parameters[..., 3:] = 1
        for index, haloes in enumerate(cone.haloes):
            parameters[index, : len(haloes)], mask[index, : len(haloes)] = batch(haloes), True
        lens, shear = _autolens_lens(al, cone)
        scaling = precompute_scaling_matrix(redshifts, cosmology=_autolens_cosmology(al))
        on_plane = jnp.arange(len(redshifts)) == cone.lens_plane

        def macro(grid, _):
            points = al.Grid2DIrregular(values=grid, xp=jnp)
            return sum(p.deflections_yx_2d_from(grid=points, xp=jnp).array for p in (lens, shear))

        @jax.jit
        def positions(rays, parameters, mask):
            sheets = jnp.zeros(len(redshifts))
            return traced_grids_via_scan(rays, parameters, mask, scaling, macro, None, on_plane, sheets, profile)[-1]

        return partial(positions, jnp.asarray(rays), jnp.asarray(parameters), jnp.asarray(mask))

    return Calls(plane, trace, gradient)


def _paltax():
    from paltax.lens_models import TNFW

    # Versions from PyPI have no look-up table yet.
    tables = {}
    if hasattr(TNFW, "add_lookup_tables"):
        with jax.enable_x64(False):
            tables = {"lookup_tables": TNFW.add_lookup_tables({})}

    @jax.jit
    def deflection(keywords, rays):
        def one(scale_radius, alpha_rs, trunc_radius, center_x, center_y):
            return TNFW.derivatives(
                rays[:, 1], rays[:, 0], scale_radius, alpha_rs, trunc_radius, center_x, center_y, **tables
            )

        x, y = jax.vmap(one)(*keywords)
        return jnp.stack([y.sum(0), x.sum(0)], -1)

    def plane(haloes, rays):
        single = [np.asarray(a, np.float32) for a in _keywords(haloes).values()]
        rays = np.asarray(rays, np.float32)

        def call():
            with jax.enable_x64(False):
                return deflection(single, rays)

        return call

    return Calls(plane)
