"""Tracers and simulators of autolens as those of lenskern."""

from typing import NamedTuple

import numpy as np

from .. import _checks, simulate
from .autogalaxy import AutogalaxyLight
from .galaxies import UNSUPPORTED, by_redshift, describe, number, pair, planes_from_galaxies

__all__ = ["Simulation", "planes_from", "simulator_from"]


def planes_from(tracer, *, source_redshift=None, unsupported="error", bucket=None):
    """Lens planes of a tracer of autolens.

    ``deflect.trace(planes, grid)`` gives the last of ``tracer.traced_grid_2d_list_from(grid)``, and with
    ``all_planes=True`` the whole list: there is a plane for each redshift of a galaxy or a field, with mass or without.
    As in autolens all convergences are in units of the critical surface density for the last plane, whatever redshift
    they were made for. Parameters, redshifts and the tracer itself can be made under `jax.jit`.

    Parameters
    ----------
    tracer : autolens.Tracer
    source_redshift : float, optional
        Of the source, by default that of the last plane, whose mass does not deflect. Needed for a tracer with one
        plane.
    unsupported : {"error", "autogalaxy", "autogalaxy-numpy"}
        What becomes of a profile that lenskern has not: an error, or a component that autogalaxy itself evaluates, by
        JAX where it can, or always by NumPy, as a tracer does; see `lenskern.interop.autogalaxy.AutogalaxyMass`.
    bucket : int, optional
        As for `lenskern.deflect.planes`.

    Returns
    -------
    lenskern.deflect.Planes

    Raises
    ------
    ValueError
        For anything that is no tracer, or a tracer with nothing in front of the source.
    NotImplementedError
        As `lenskern.interop.planes_from_galaxies`.
    """
    _require_tracer(tracer)
    return planes_from_galaxies(
        tracer.galaxies,
        tracer.cosmology,
        fields=tracer.fields,
        source_redshift=source_redshift,
        unsupported=unsupported,
        every_plane=True,
        bucket=bucket,
    )


class Simulation(NamedTuple):
    """What `lenskern.simulate.simulate` needs for the images that a simulator of autolens gives.

    Attributes
    ----------
    scene : lenskern.simulate.Scene
    system : lenskern.simulate.System
    noise : bool
        Whether the simulator adds Poisson noise: ``simulate.simulate(scene, system, key, noise=noise)``.
    """

    scene: simulate.Scene
    system: simulate.System
    noise: bool


def simulator_from(simulator, tracer, grid, *, unsupported="error", bucket=None, **options):
    """Scene and system that give the images of ``simulator.via_tracer_from(tracer, grid)``.

    The mean images are the same; the noise has the same distribution, and draws of its own. A profile of light with a
    given signal-to-noise ratio gets its intensity as autolens sets it, in the tracer.

    Parameters
    ----------
    simulator : autolens.SimulatorImaging
    tracer : autolens.Tracer
    grid : autolens.Grid2D
        With square pixels around (0, 0); its over-sampling is taken over. As in autolens all pixels of the array are
        simulated, those that are masked with one ray.
    unsupported, bucket
        As for `planes_from`; profiles of light too.
    **options
        ``backend``, ``tol``, ``dtype``, ``read_noise`` and ``unit`` of `lenskern.simulate.Scene`.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
        For an argument of the wrong type, pixels that are not square, or a grid elsewhere.
    NotImplementedError
        For a PSF that is finer than the pixels, a profile that lenskern has not, or linear light, which has no
        intensity.
    """
    _require_tracer(tracer)
    _checks.choice("unsupported", unsupported, UNSUPPORTED)
    _require("simulator", simulator, "SimulatorImaging")
    _require("grid", grid, "Grid2D")
    if simulator.psf.convolve_over_sample_size > 1:
        raise NotImplementedError(
            f"simulator: got a psf of {simulator.psf.convolve_over_sample_size} times the resolution of the image, "
            "expected that of the image"
        )
    scales, origin = grid.mask.pixel_scales, tuple(map(float, grid.mask.origin))
    if not np.isclose(*scales, rtol=1e-12):
        raise ValueError(f"grid: got pixels of {scales} arcsec, expected square ones")
    if origin != (0.0, 0.0):
        raise ValueError(f"grid: got the centre {origin}, expected (0.0, 0.0)")
    tracer.set_snr_of_snr_light_profiles(
        grid=grid, exposure_time=simulator.exposure_time, background_sky_level=simulator.background_sky_level
    )
    scene = simulate.Scene(
        grid.mask.shape_native,
        float(scales[0]),
        over_sampling=np.maximum(np.asarray(grid.over_sample_size.native.array, int), 1),
        psf=_kernel(simulator.psf),
        normalize_psf=False,
        exposure_time=simulator.exposure_time,
        background=simulator.background_sky_level,
        subtract_background=simulator.subtract_background_sky,
        **options,
    )
    return Simulation(scene, _system(tracer, unsupported, bucket), bool(simulator.add_poisson_noise_to_data))


def _system(tracer, unsupported, bucket):
    named = [(f"galaxies[{i}]", galaxy) for i, galaxy in enumerate(tracer.galaxies)]
    named += [(f"fields[{i}]", field) for i, field in enumerate(tracer.fields)]
    lights = [
        [light for name, galaxy in members for light in _lights(name, galaxy, unsupported)]
        for _, members in by_redshift(named)
    ]
    planes = planes_from(tracer, unsupported=unsupported, bucket=bucket) if len(lights) > 1 else None
    seen = [(k, light) for k, here in enumerate(lights[:-1]) for light in here]
    return simulate.System(
        planes,
        sources=tuple(lights[-1]),
        lens_light=tuple(light for _, light in seen),
        lens_light_plane=tuple(k for k, _ in seen) or None,
    )


def _lights(name, galaxy, unsupported):
    """The light profiles of a galaxy as ours; those that are sums are taken apart."""
    import autogalaxy

    waiting = list(vars(galaxy).items())
    while waiting:
        part, profile = waiting.pop(0)
        if not isinstance(profile, autogalaxy.LightProfile):
            continue
        where = describe(name, part, galaxy)
        if isinstance(profile, autogalaxy.lp_basis.Basis):
            waiting = [(part, p) for p in profile.profile_list] + waiting
        elif isinstance(profile, autogalaxy.lp_linear.LightProfileLinear):
            raise NotImplementedError(
                f"tracer: got the profile {type(profile).__name__} as {where}, which is linear and has no intensity; "
                "expected one that has"
            )
        elif kind := _light_kind(profile):
            yield _LIGHTS[kind](profile)
        elif unsupported != "error":
            yield AutogalaxyLight(profile, by_numpy=unsupported == "autogalaxy-numpy")
        else:
            raise NotImplementedError(
                f"tracer: got the profile {type(profile).__name__} as {where}, expected one of {', '.join(_LIGHTS)}; "
                "unsupported='autogalaxy' has autogalaxy evaluate it"
            )


def _light_kind(profile):
    """The name of the class among those known whose images the profile has, or None."""
    kind = type(profile)
    for base in kind.__mro__:
        if base.__name__ in _LIGHTS:
            names = ("image_2d_from", "image_2d_via_radii_from")
            return base.__name__ if all(getattr(kind, n) is getattr(base, n) for n in names) else None
    return None


def _kernel(psf):
    """Values of a kernel, or None where it is that of no blurring."""
    kernel = np.asarray(psf.kernel.native.array, float)
    middle = tuple((n - 1) // 2 for n in kernel.shape)
    sharp = np.zeros_like(kernel)
    sharp[middle] = 1
    return None if np.array_equal(kernel, sharp) else kernel


def _require_tracer(tracer):
    for name in ("galaxies", "fields", "cosmology"):
        if not hasattr(tracer, name):
            raise ValueError(f"tracer: got {type(tracer).__name__}, expected autolens.Tracer")


def _require(name, value, kind):
    if kind not in (base.__name__ for base in type(value).__mro__):
        raise ValueError(f"{name}: got {type(value).__name__}, expected autolens.{kind}")


def _common(p):
    return {"centre": pair(p.centre), "ell_comps": pair(p.ell_comps), "intensity": number(p.intensity)}


def _sersic(p):
    size = {"effective_radius": number(p.effective_radius), "sersic_index": number(p.sersic_index)}
    return simulate.Sersic(**_common(p), **size)


def _sersic_core(p):
    names = ("effective_radius", "sersic_index", "radius_break", "gamma", "alpha")
    return simulate.SersicCore(**_common(p), **{name: number(getattr(p, name)) for name in names})


_LIGHTS = {
    "Sersic": _sersic,
    "SersicCore": _sersic_core,
    "Gaussian": lambda p: simulate.Gaussian(**_common(p), sigma=number(p.sigma)),
}
