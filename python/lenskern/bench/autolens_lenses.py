"""Lenses for the benchmark of whole likelihoods: simulated data and the models that PyAutoLens fits to them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CASES", "PRODUCTION", "QUICK", "Lens", "Size", "lens"]

DATASETS = ("imaging", "interferometer")
SOURCES = ("mge", "rectangular", "delaunay")
CASES = tuple(f"{dataset}-{source}" for dataset in DATASETS for source in SOURCES)

ELLIPTICITY = (0.05, 0.05)
SHEAR = (0.05, -0.02)
EINSTEIN_RADIUS = 1.6
SOURCE = {"centre": (0.05, 0.08), "effective_radius": 0.15, "sersic_index": 1.5}
EDGE = 30  # points on the border of a Delaunay mesh, held at zero


@dataclass(frozen=True)
class Size:
    """How large the data and the models are.

    Attributes
    ----------
    pixel_scale, radius : float
        arcsec; `radius` is that of the circular mask.
    lens_gaussians, source_gaussians : int
        Of the multi-Gaussian expansions.
    side : int
        Of the rectangular mesh.
    overlay : int
        Points across the mask of the grid that the Delaunay mesh is made from.
    visibilities : int
    real_space : int
        Pixels across the image that is transformed to visibilities, 0.1 arcsec each.
    """

    pixel_scale: float
    radius: float
    lens_gaussians: int
    source_gaussians: int
    side: int
    overlay: int
    visibilities: int
    real_space: int


# As the Hubble Space Telescope's Advanced Camera for Surveys and the Submillimeter Array see a lens.
PRODUCTION = Size(0.05, 3.5, 60, 20, 35, 39, 190, 256)
QUICK = Size(0.2, 2.4, 6, 4, 7, 9, 40, 64)


@dataclass(frozen=True)
class Lens:
    """Data and a model, as an analysis of autolens takes them.

    Attributes
    ----------
    dataset : autolens.Imaging or autolens.Interferometer
    model : autofit.Collection
    adapt_images : autolens.AdaptImages or None
    """

    dataset: Any
    model: Any
    adapt_images: Any

    def analysis(self, use_jax=True, settings=None):
        """The analysis of autolens."""
        import autolens as al

        kind = al.AnalysisImaging if isinstance(self.dataset, al.Imaging) else al.AnalysisInterferometer
        return kind(
            dataset=self.dataset,
            adapt_images=self.adapt_images,
            settings=settings,
            raise_inversion_positions_likelihood_exception=False,
            use_jax=use_jax,
        )

    def parameters(self, count):
        """So many parameter vectors: the true one, and some as far off as the posterior is wide, shape (count, n)."""
        widths = np.array([getattr(prior, "sigma", 0.02) for prior in self.model.priors_ordered_by_id])
        draws = np.random.default_rng(7).standard_normal((count, len(widths)))
        draws[0] = 0
        return np.array(self.model.physical_values_from_prior_medians) + 0.5 * widths * draws


def lens(case, size=PRODUCTION):
    """Simulate the data of a case and compose its model.

    Parameters
    ----------
    case : str
        Of `CASES`.
    size : Size

    Returns
    -------
    Lens
    """
    kind, source = case.split("-")
    dataset, mask = (_imaging if kind == "imaging" else _interferometer)(size)
    galaxy, adapt_images = _source(source, mask, size)
    return Lens(dataset, _model(kind, galaxy, size), adapt_images)


def _tracer(with_light):
    import autolens as al

    light = {"bulge": al.lp.Sersic(intensity=1.5, effective_radius=0.9, sersic_index=3.0)} if with_light else {}
    return al.Tracer(
        galaxies=[
            al.Galaxy(
                redshift=0.5,
                mass=al.mp.Isothermal(ell_comps=ELLIPTICITY, einstein_radius=EINSTEIN_RADIUS),
                shear=al.mp.ExternalShear(*SHEAR),
                **light,
            ),
            al.Galaxy(redshift=1.0, bulge=al.lp.Sersic(intensity=4.0, **SOURCE)),
        ]
    )


def _imaging(size):
    import autolens as al

    pixels = 2 * int(np.ceil(size.radius / size.pixel_scale)) + 30
    grid = al.Grid2D.uniform((pixels, pixels), pixel_scales=size.pixel_scale, over_sample_size=4)
    psf = al.Convolver.from_gaussian((21, 21), pixel_scales=size.pixel_scale, sigma=0.05, normalize=True)
    simulator = al.SimulatorImaging(exposure_time=2000.0, psf=psf, background_sky_level=0.1, noise_seed=1)
    dataset = simulator.via_tracer_from(tracer=_tracer(with_light=True), grid=grid)
    mask = al.Mask2D.circular(dataset.shape_native, pixel_scales=size.pixel_scale, radius=size.radius)
    dataset = dataset.apply_mask(mask=mask)
    inner = al.util.over_sample.over_sample_size_via_radial_bins_from(
        grid=dataset.grid, sub_size_list=[4, 2, 1], radial_list=[0.3, 0.6], centre_list=[(0.0, 0.0)]
    )
    return dataset.apply_over_sampling(over_sample_size_lp=inner, over_sample_size_pixelization=1), mask


def _interferometer(size):
    import autolens as al

    shape = (size.real_space, size.real_space)
    mask = al.Mask2D.circular(shape, pixel_scales=0.1, radius=size.radius)
    grid = al.Grid2D.uniform(shape, pixel_scales=0.1)
    uv = np.random.default_rng(1).normal(0, 1e5, (size.visibilities, 2))
    simulator = al.SimulatorInterferometer(
        uv_wavelengths=uv, exposure_time=300.0, noise_sigma=10.0, transformer_class=al.TransformerDFT, noise_seed=1
    )
    simulated = simulator.via_tracer_from(tracer=_tracer(with_light=False), grid=grid)
    dataset = al.Interferometer(
        data=simulated.data,
        noise_map=simulated.noise_map,
        uv_wavelengths=uv,
        real_space_mask=mask,
        transformer_class=al.TransformerDFT,
    )
    return dataset, mask


def _source(source, mask, size):
    """The source galaxy as a model, and the images that its mesh needs."""
    import autofit as af
    import autolens as al

    if source == "mge":
        bulge = al.model_util.mge_model_from(
            mask_radius=1.0, total_gaussians=size.source_gaussians, centre_fixed=SOURCE["centre"]
        )
        return af.Model(al.Galaxy, redshift=1.0, bulge=bulge), None
    if source == "rectangular":
        mesh = al.mesh.RectangularRTUAdaptDensity(shape=(size.side, size.side))
        pixelization = al.Pixelization(mesh=mesh, regularization=al.reg.Constant(coefficient=1.0))
        return af.Model(al.Galaxy, redshift=1.0, pixelization=pixelization), None
    grid = al.image_mesh.Overlay(shape=(size.overlay, size.overlay)).image_plane_mesh_grid_from(mask=mask)
    grid = al.image_mesh.append_with_circle_edge_points(
        image_plane_mesh_grid=grid,
        centre=mask.mask_centre,
        radius=size.radius + mask.pixel_scale / 2,
        n_points=EDGE,
    )
    pixelization = al.Pixelization(
        mesh=al.mesh.Delaunay(pixels=len(grid), zeroed_pixels=EDGE),
        regularization=al.reg.ConstantSplit(coefficient=1.0),
    )
    images = al.AdaptImages(galaxy_name_image_plane_mesh_grid_dict={"('galaxies', 'source')": grid})
    return af.Model(al.Galaxy, redshift=1.0, pixelization=pixelization), images


def _model(kind, source, size):
    import autofit as af
    import autolens as al

    mass, shear = af.Model(al.mp.Isothermal), af.Model(al.mp.ExternalShear)
    mass.centre = (0.0, 0.0)
    mass.einstein_radius = af.GaussianPrior(mean=EINSTEIN_RADIUS, sigma=0.01)
    mass.ell_comps.ell_comps_0 = af.GaussianPrior(mean=ELLIPTICITY[0], sigma=0.01)
    mass.ell_comps.ell_comps_1 = af.GaussianPrior(mean=ELLIPTICITY[1], sigma=0.01)
    shear.gamma_1 = af.GaussianPrior(mean=SHEAR[0], sigma=0.005)
    shear.gamma_2 = af.GaussianPrior(mean=SHEAR[1], sigma=0.005)
    light = {}
    if kind == "imaging":
        light["bulge"] = al.model_util.mge_model_from(
            mask_radius=size.radius, total_gaussians=size.lens_gaussians, centre_fixed=(0.0, 0.0)
        )
    galaxy = af.Model(al.Galaxy, redshift=0.5, mass=mass, shear=shear, **light)
    return af.Collection(galaxies=af.Collection(lens=galaxy, source=source))
