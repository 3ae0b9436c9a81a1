"""Systems whose halo profiles are compared, each called as its users call it, with a scale of 1 arcsec."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import backends, deflect
from lenskern.deflect import Profile


@dataclass(frozen=True)
class System:
    """A package with halo profiles.

    Parameters
    ----------
    name : str
        Its package.
    install : str
        The command that installs it.
    make : callable
        Imports it and returns a list of (backend, dtype, offered). ``offered`` maps a `Profile` to a function of the
        radii x, shape (n,), and of the shape parameters, shape (m, 2), that returns the deflection, the convergence and
        the convergence less the mean convergence, shapes (m, n), or None for one that is not offered.
    """

    name: str
    install: str
    make: Callable

    def load(self):
        """What it offers, or None where the package is not installed."""
        # Started before a package is imported that sets XLA's flags for the whole process.
        jax.devices()
        try:
            return self.make()
        except ImportError:
            return None


def systems():
    """All known systems, lenskern first: list of System."""
    return [
        System("lenskern", "pip install lenskern", _lenskern),
        System("autogalaxy", "pip install autolens", _autogalaxy),
        System("lenstronomy", "pip install lenstronomy", _lenstronomy),
        System("jaxtronomy", "pip install jaxtronomy", _jaxtronomy),
    ]


def _lenskern():
    makers = {
        Profile.NFW: lambda c, p, q: deflect.nfw(c, 1.0, 1.0),
        Profile.TNFW: lambda c, p, q: deflect.tnfw(c, 1.0, 1.0, p),
        Profile.CNFW: lambda c, p, q: deflect.cnfw(c, 1.0, 1.0, p),
        Profile.TNFWC: lambda c, p, q: deflect.tnfwc(c, 1.0, 1.0, p, q),
        Profile.DPIE: lambda c, p, q: deflect.dpie(c, 1.0, p, 1.0),
        Profile.POINT: lambda c, p, q: deflect.point_mass(c, 1.0),
        Profile.SIS: lambda c, p, q: deflect.sis(c, 1.0),
    }

    def offer(maker, backend):
        def lane(p, q, grid):
            halos = maker(jnp.zeros((1, 2), grid.dtype), p, q)
            jacobian = deflect.jacobian(halos, grid, backend=backend)
            return (
                deflect.plane(halos, grid, backend=backend)[:, 1],
                deflect.convergence(halos, grid, backend=backend),
                (jacobian[:, 1, 1] - jacobian[:, 0, 0]) / 2,
            )

        lanes = jax.jit(jax.vmap(lane, (0, 0, None)))

        def evaluate(x, at):
            # in lanes of one number, so that one program serves all
            padded = np.resize(at, (-(-len(at) // 16) * 16, 2))
            grid = np.stack([np.zeros_like(x), x], -1)
            parts = [lanes(part[:, 0], part[:, 1], grid) for part in np.split(padded, len(padded) // 16)]
            return [np.concatenate(column)[: len(at)] for column in zip(*parts, strict=True)]

        return evaluate

    compiled = ("cuda",) if jax.default_backend() == "gpu" else ("cpp",)
    names = ["reference"] + [name for name in compiled if backends.availability(name).available]
    return [
        (name, dtype, {profile: offer(maker, name) for profile, maker in makers.items()})
        for name in names
        for dtype in (np.float64, np.float32)
    ]


def _one_by_one(evaluate):
    """Adapt a function of x and one pair of shape parameters; where it fails the values are not finite."""

    def guarded(x, p, q):
        try:
            with np.errstate(all="ignore"):
                return evaluate(x, p, q)
        except ArithmeticError:
            return [np.full_like(x, np.nan)] * 3

    def every(x, at):
        rows = [guarded(x, *map(float, pair)) for pair in at]
        return [None if column[0] is None else np.array(column) for column in zip(*rows, strict=True)]

    return every


def _autogalaxy():
    import autogalaxy as ag

    makers = {
        Profile.NFW: lambda p, q: ag.mp.NFWSph(kappa_s=1.0, scale_radius=1.0),
        Profile.TNFW: lambda p, q: ag.mp.NFWTruncatedSph(kappa_s=1.0, scale_radius=1.0, truncation_radius=p),
        Profile.CNFW: lambda p, q: ag.mp.cNFWSph(kappa_s=1.0, scale_radius=1.0, core_radius=p),
        Profile.DPIE: lambda p, q: ag.mp.dPIEMassB0Sph(ra=p, rs=1.0, b0=1.0 - p),
        Profile.POINT: lambda p, q: ag.mp.PointMass(einstein_radius=1.0),
        Profile.SIS: lambda p, q: ag.mp.IsothermalSph(einstein_radius=1.0),
    }

    def plain(values):
        return np.asarray(getattr(values, "array", values))

    def offer(maker):
        def evaluate(x, p, q):
            profile, grid = maker(p, q), ag.Grid2DIrregular(values=np.stack([np.zeros_like(x), x], -1))
            alpha = plain(profile.deflections_yx_2d_from(grid=grid))[:, 1]
            kappa = plain(profile.convergence_2d_from(grid=grid))
            # its own shear is a difference of deflections over 0.01 arcsec
            return alpha, kappa, None

        return _one_by_one(evaluate)

    return [("numpy", np.float64, {profile: offer(maker) for profile, maker in makers.items()})]


# Deflection of an NFW halo at its scale radius.
_ALPHA_RS = 4 * (1 - np.log(2))


def _lenstronomy_like(lens_model, models, wrap):
    """What the models of lenstronomy or JAXtronomy offer."""

    def offer(name, keywords):
        def evaluate(x, p, q):
            model, at = lens_model([name]), [{key: wrap(value) for key, value in keywords(p, q).items()}]
            x, y = wrap(x), wrap(np.zeros_like(x))
            alpha, _ = model.alpha(x, y, at)
            f_xx, _, _, f_yy = model.hessian(x, y, at)
            f_xx, f_yy = np.asarray(f_xx), np.asarray(f_yy)
            return np.asarray(alpha), (f_xx + f_yy) / 2, (f_xx - f_yy) / 2

        return _one_by_one(evaluate)

    return {profile: offer(*model) for profile, model in models.items()}


def _models():
    return {
        Profile.NFW: ("NFW", lambda p, q: {"Rs": 1.0, "alpha_Rs": _ALPHA_RS}),
        Profile.TNFW: ("TNFW", lambda p, q: {"Rs": 1.0, "alpha_Rs": _ALPHA_RS, "r_trunc": p}),
        # E = 2 sigma0 Ra Rs / (Rs - Ra) with Ra the core and Rs = 1
        Profile.DPIE: ("PJAFFE", lambda p, q: {"sigma0": (1 - p) / (2 * p), "Ra": p, "Rs": 1.0}),
        Profile.SIS: ("SIS", lambda p, q: {"theta_E": 1.0}),
    }


def _lenstronomy():
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LensModel.Profiles.cnfw import CNFW
    from lenstronomy.LensModel.Profiles.nfw_core_truncated import TNFWC

    def cnfw(p, q):
        return {"Rs": 1.0, "alpha_Rs": CNFW()._rho2alpha(1.0, 1.0, p), "r_core": p}

    def tnfwc(p, q):
        return {"Rs": 1.0, "alpha_Rs": TNFWC().rho02alpha(1.0, 1.0, p, q), "r_core": p, "r_trunc": q}

    models = _models() | {
        Profile.CNFW: ("CNFW", cnfw),
        Profile.TNFWC: ("TNFWC", tnfwc),
        Profile.POINT: ("POINT_MASS", lambda p, q: {"theta_E": 1.0}),
    }
    return [("numpy", np.float64, _lenstronomy_like(LensModel, models, lambda value: value))]


def _jaxtronomy():
    from jaxtronomy.LensModel.lens_model import LensModel

    offered = _lenstronomy_like(LensModel, _models(), jnp.asarray)

    def single(evaluate):
        def narrow(x, at):
            with jax.enable_x64(False):
                return evaluate(x, at)

        return narrow

    return [
        ("jax", np.float64, offered),
        ("jax", np.float32, {profile: single(evaluate) for profile, evaluate in offered.items()}),
    ]
