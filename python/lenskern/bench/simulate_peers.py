"""Other simulators of images with many haloes, each called as its users call it, on the cases of `simulate_systems`."""

import importlib.util
import sys
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern.bench import deflect_peers, subhaloes
from lenskern.bench.simulate_systems import EXPOSURE_TIME, FWHM, SKY, Calls, System


def peers():
    """All known peers: list of System."""
    paltax = "pip install paltax"
    return [
        # It keeps rays x haloes numbers of a plane for each image of a batch.
        System("autolens", "jax", "float64", None, partial(_load, _autolens), 2e5, "pip install autolens"),
        System("jaxtronomy", "jax", "float64", None, partial(_load, _jaxtronomy), 3e6, "pip install jaxtronomy"),
        System("paltax", "jax", "float32", None, partial(_load, _paltax), 3e6, paltax),
    ]


def _load(make):
    # Started before a package is imported that sets XLA's flags for the whole process.
    jax.devices()
    try:
        return make()
    except ImportError:
        return None


def _compiled(function, *arguments):
    return partial(jax.jit(function).lower(*arguments).compile(), *arguments)


def _binned(case, brightness):
    """Means of the fine rays of each pixel."""
    return brightness.reshape(case.side, case.side, -1).mean(-1)


def _noisy(case, image, key):
    """As `autolens.lens.substructure_util.simulate_substructure`: PSF, Poisson noise of source and sky."""
    blurred = jax.scipy.signal.fftconvolve(image, jnp.asarray(case.kernel), mode="same")
    return jax.random.poisson(key, (blurred + SKY) * EXPOSURE_TIME) / EXPOSURE_TIME - SKY


def _autolens():
    import autolens as al
    from autolens.lens import substructure_util

    profile = al.mp.NFWTruncatedSph

    def setup(case):
        cone = case.cones[0]
        redshifts = (*cone.redshifts, cone.source_redshift)
        centre, *rest = case.columns()
        halos = np.concatenate([centre, np.stack(rest, -1)], -1)
        halos = np.concatenate([halos, np.ones_like(halos[:, :1])], 1)
        mask = np.ones(halos.shape[:3], bool)
        mask[:, -1] = False
        lens, shear = deflect_peers._autolens_lens(al, cone)
        source = case.source
        sersic = al.lp.SersicSph(source.centre, source.intensity, source.radius, source.index)

        def macro(grid, _):
            points = al.Grid2DIrregular(values=grid, xp=jnp)
            return sum(p.deflections_yx_2d_from(grid=points, xp=jnp).array for p in (lens, shear))

        def light(grid, _):
            return sersic.image_2d_from(grid=al.Grid2DIrregular(values=grid, xp=jnp), xp=jnp).array

        fine = case.over_sampling > 1
        common = {
            "grid": jnp.asarray(case.fine_rays.reshape(-1, 2)),
            "image_shape": (-1, case.over_sampling**2) if fine else (case.side, case.side),
            "scaling_matrix": substructure_util.precompute_scaling_matrix(
                redshifts, cosmology=deflect_peers._autolens_cosmology(al)
            ),
            "lens_mass_fn": macro,
            "lens_plane_mask": jnp.arange(len(redshifts)) == cone.lens_plane,
            "source_light_fn": light,
            "exposure_time": EXPOSURE_TIME,
            "halo_profile_cls": profile,
        }
        delta, zeros = jnp.ones((1, 1)), jnp.zeros(case.batch)
        halos, mask, sheets = jnp.asarray(halos), jnp.asarray(mask), jnp.zeros((case.batch, len(redshifts)))

        def batch(halos, mask, sheets, keys):
            # It has no over-sampling: fine rays are its pixels, and what follows is ours.
            psf, sky = (delta, 0.0) if fine or keys is None else (jnp.asarray(case.kernel), SKY)
            images = substructure_util.batched_simulate_substructure(
                halo_params_batch=halos,
                halo_mask_batch=mask,
                lens_mass_params_batch=zeros[: len(halos)],
                sheet_kappas_batch=sheets,
                source_light_params_batch=zeros[: len(halos)],
                psf_kernel=psf,
                background_sky_level=sky,
                prng_keys=None if fine else keys,
                **common,
            )
            if not fine:
                return images
            images = jax.vmap(partial(_binned, case))(images)
            return images if keys is None else jax.vmap(partial(_noisy, case))(images, keys)

        keys = jax.random.split(jax.random.key(0), case.batch)
        first = halos[:1], mask[:1], sheets[:1]
        return Calls(_compiled(batch, halos, mask, sheets, keys), lambda: jax.jit(batch)(*first, None)[0])

    return setup


def _jaxtronomy():
    from jaxtronomy.LensModel.lens_model_bulk import LensModelBulk
    from jaxtronomy.LightModel.light_model import LightModel

    def setup(case):
        cosmology = deflect_peers._astropy_cosmology()
        model = LensModelBulk(["TNFW", "EPL", "SHEAR"], multi_plane=True, cosmo=cosmology)
        light = LightModel(["SERSIC"])
        prepared = []
        for cone in case.cones:
            models, redshifts, keywords = deflect_peers._lens_list(cone)
            arguments = models, keywords, cone.source_redshift, redshifts
            prepared.append(jax.tree.map(np.asarray, model.prepare_ray_shooting_kwargs(*arguments)))
        prepared = jax.tree.map(lambda *parts: jnp.stack(parts), *prepared)
        amplitude, radius = case.source.with_b(1.9992 * case.source.index - 0.3271)
        y, x = case.source.centre
        keywords = {"amp": amplitude, "R_sersic": radius, "n_sersic": case.source.index, "center_x": x, "center_y": y}
        fine_y, fine_x = (jnp.asarray(a) for a in case.fine_rays.reshape(-1, 2).T)

        def mean(prepared):
            beta = model.ray_shooting(fine_x, fine_y, prepared)
            return _binned(case, light.surface_brightness(*beta, [keywords]))

        keys = jax.random.split(jax.random.key(0), case.batch)

        def images(prepared, keys):
            # One after the other: under vmap its switch between profiles evaluates all of them for every halo.
            return jax.lax.map(lambda pair: _noisy(case, mean(pair[0]), pair[1]), (prepared, keys))

        return Calls(_compiled(images, prepared, keys), lambda: jax.jit(mean)(jax.tree.map(lambda x: x[0], prepared)))

    return setup


def _paltax_without_training():
    """The modules of paltax that simulate, without those that train networks, which need TensorFlow."""
    if "paltax" not in sys.modules:
        spec = importlib.util.find_spec("paltax")
        if spec is None:
            raise ImportError("paltax")
        package = types.ModuleType("paltax")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["paltax"] = package
    from paltax import cosmology_utils, image_simulation, lens_models, psf_models, source_models

    return cosmology_utils, image_simulation, lens_models, psf_models, source_models


def _paltax():
    cosmology_utils, image_simulation, lens_models, psf_models, source_models = _paltax_without_training()

    parameters = {
        "omega_m_zero": subhaloes.OMEGA_M,
        "omega_b_zero": 0.05,
        "omega_de_zero": 1 - subhaloes.OMEGA_M,
        "omega_rad_zero": 0.0,
        "temp_cmb_zero": 0.0,
        "hubble_constant": subhaloes.H0,
        "n_s": 0.96,
        "sigma_eight": 0.8,
    }
    with jax.enable_x64(False):
        cosmology = cosmology_utils.add_lookup_tables_to_cosmology_params(parameters, 2.5, 0.005, 1e-3, 1e3)

    def setup(case):
        with jax.enable_x64(False):
            return _paltax_calls(case, cosmology, image_simulation, lens_models, psf_models, source_models)

    return setup


def _paltax_calls(case, cosmology, image_simulation, lens_models, psf_models, source_models):
    cone, side, factor = case.cones[0], case.side, case.over_sampling
    models = {
        "all_los_models": (lens_models.TNFW(),),
        "all_subhalo_models": (lens_models.TNFW(),),
        "all_main_deflector_models": (lens_models.EPL(), lens_models.ShearCart()),
        "all_source_models": (source_models.SersicElliptic(),),
        "all_lens_light_models": (source_models.SersicElliptic(),),
        "all_psf_models": (psf_models.Gaussian(),),
    }
    centre, kappa_s, scale, truncation = (column.astype(np.float32) for column in case.columns())
    single = np.float32
    haloes = {
        "scale_radius": scale,
        "alpha_rs": 4 * kappa_s * scale * single(1 - np.log(2)),
        "trunc_radius": truncation,
        "center_x": centre[..., 1],
        "center_y": centre[..., 0],
        "model_index": np.zeros(scale.shape, np.int32),
    }
    redshifts = np.array(cone.redshifts, single)
    parts = {"los_before": slice(cone.lens_plane), "los_after": slice(cone.lens_plane + 1, None)}
    lens = {
        f"kwargs_{name}": {key: x[:, part].reshape(len(x), -1) for key, x in haloes.items()}
        for name, part in parts.items()
    }
    lens["kwargs_subhalos"] = {key: x[:, cone.lens_plane] for key, x in haloes.items()}
    law = cone.power_law
    main = {
        "theta_e": [law.einstein_radius, 0],
        "slope": [law.slope, 2],
        "axis_ratio": [law.axis_ratio, 0.5],
        "angle": [law.angle, 0],
        "center_x": [law.centre[1], 0],
        "center_y": [law.centre[0], 0],
        "gamma_one": [0, cone.shear[0]],
        "gamma_two": [0, cone.shear[1]],
        "zero_x": [0, 0],
        "zero_y": [0, 0],
    }
    main = {key: np.array(value, single) for key, value in main.items()} | {"model_index": np.array([0, 1])}
    shared = {f"z_array_{name}": np.repeat(redshifts[part], case.haloes) for name, part in parts.items()} | {
        "z_array_subhalos": np.full(case.haloes, redshifts[cone.lens_plane]),
        "z_array_main_deflector": np.full(2, redshifts[cone.lens_plane]),
        "kwargs_main_deflector": main,
    }
    amplitude, radius = case.source.with_b(1.9992 * case.source.index - 0.3271)
    # Brightness is per square arcsec there, and fine pixels are summed rather than averaged.
    amplitude /= case.pixel_scale**2
    values = (amplitude, radius, case.source.index, 1.0, 0.0, *case.source.centre[::-1])
    source = dict(zip(source_models.SersicElliptic.parameters, np.array(values, single)[:, None], strict=True))
    source["model_index"] = np.zeros(1, np.int32)
    none = source | {"amp": np.zeros(1, single)}
    psf = {"fwhm": np.array([FWHM], single), "pixel_width": np.array([case.pixel_scale], single)}
    psf["model_index"] = np.zeros(1, np.int32)
    # Its sky is a magnitude per square arcsec.
    detector = {
        "n_x": side,
        "n_y": side,
        "pixel_width": case.pixel_scale,
        "supersampling_factor": factor,
        "exposure_time": EXPOSURE_TIME,
        "num_exposures": 1,
        "read_noise": 0.0,
        "magnitude_zero_point": 25.0,
        "sky_brightness": 25.0 - 2.5 * np.log10(SKY / case.pixel_scale**2),
    }
    fine = subhaloes.rays(side * factor).astype(single)
    psf_function = models["all_psf_models"][0].convolve

    def mean(lens):
        image = image_simulation.generate_image(
            fine[:, 1], fine[:, 0], lens | shared, source, none, psf, cosmology, cone.source_redshift, detector, models,
            apply_psf=False,
        )  # fmt: skip
        return image.reshape(side, factor, side, factor).sum((1, 3))

    def image(lens, key):
        blurred = psf_function(mean(lens), {name: x[0] for name, x in psf.items()}, cosmology)
        return blurred + image_simulation.noise_realization(blurred, key, detector)

    keys = jax.random.split(jax.random.PRNGKey(0), case.batch)
    compiled = jax.jit(jax.vmap(image)).lower(lens, keys).compile()

    def first():
        with jax.enable_x64(False):
            return jax.jit(mean)(jax.tree.map(lambda x: x[0], lens))

    return Calls(partial(compiled, lens, keys), first)
