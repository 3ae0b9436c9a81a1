"""What the benchmark of the simulator measures: lenses with haloes on 8 planes, and lenskern on them."""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import convolve, simulate
from lenskern.bench import deflect_systems, subhaloes
from lenskern.deflect import tnfw

# Pixels along each axis, which fill `subhaloes.FIELD`.
EXPOSURE_TIME, SKY, FWHM, KERNEL = 1000.0, 0.1, 0.12, 11


@dataclasses.dataclass(frozen=True)
class Source:
    """Circular Sérsic source: I exp(−b ((r/R)^(1/n) − 1)) with the b of `lenskern.simulate.Sersic`."""

    centre: tuple = (0.05, 0.02)
    intensity: float = 1.0
    radius: float = 0.3
    index: float = 1.5

    def with_b(self, b):
        """(intensity, radius) of the same profile where b is another number, as b is approximated in several ways."""
        with jax.enable_x64(True):
            ours = np.log(float(self.profile().brightness(np.array(self.centre))) / self.intensity)
        return self.intensity * np.exp(ours - b), self.radius * (b / ours) ** self.index

    def profile(self):
        """That of lenskern."""
        return simulate.Sersic(self.centre, (0.0, 0.0), self.intensity, self.radius, self.index)


@dataclasses.dataclass(frozen=True)
class Case:
    """A batch of images.

    Parameters
    ----------
    over_sampling, batch : int
    side : int
        The images are side x side.
    haloes : int
        On each of 8 planes.
    """

    over_sampling: int
    batch: int
    side: int = 100
    haloes: int = 125

    source = Source()

    @property
    def name(self):
        """As in the records."""
        pixels = f"{self.batch} x {self.side}x{self.side} pixels"
        return f"{pixels}, over-sampling {self.over_sampling}, 8 x {self.haloes} haloes"

    @property
    def pixel_scale(self):
        """In arcsec."""
        return subhaloes.FIELD / self.side

    @property
    def rays(self):
        """Of all images, without margins."""
        return self.batch * (self.side * self.over_sampling) ** 2

    @cached_property
    def cones(self):
        """A `subhaloes.Cone` with haloes of its own for each image."""
        return [subhaloes.cone(self.haloes, 10_000 * i) for i in range(self.batch)]

    def columns(self):
        """Centres (batch, planes, haloes, 2), and kappa_s, scale and truncation radii of the haloes."""
        names = ("centre", "kappa_s", "scale_radius", "truncation_radius")
        return [np.stack([[getattr(h, name) for h in cone.haloes] for cone in self.cones]) for name in names]

    @property
    def fine_rays(self):
        """Positions (pixels, over_sampling², 2) in each pixel."""
        n, s = self.side, self.over_sampling
        grid = subhaloes.rays(n * s).reshape(n, s, n, s, 2)
        return np.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4)).reshape(n * n, s * s, 2)

    @cached_property
    def kernel(self):
        """The PSF, (KERNEL, KERNEL)."""
        psf = convolve.gaussian(FWHM, self.pixel_scale, shape=(KERNEL, KERNEL), dtype=np.dtype(float))
        return np.asarray(psf.array)


@dataclasses.dataclass(frozen=True)
class Calls:
    """What a system offers for a case.

    Parameters
    ----------
    images : callable
        Gives noisy images, (batch, side, side).
    mean : callable
        Gives the first image without PSF and noise.
    """

    images: Callable
    mean: Callable


@dataclasses.dataclass(frozen=True)
class System:
    """What is measured.

    Parameters
    ----------
    name, backend, dtype : str
    tol : float or None
        That of lenskern.
    load : callable
        Gives ``setup(case) -> Calls``, or None where it is not installed.
    most_rays : float
        Rays of the largest batch that fits a machine of 24 GB.
    install : str
    """

    name: str
    backend: str
    dtype: str
    tol: float | None
    load: Callable
    most_rays: float = float("inf")
    install: str = "pip install lenskern"


def own():
    """Settings of lenskern."""
    settings = [("cpp", "float64", 1e-8), ("cpp", "float64", 0.0), ("cpp", "float32", 1e-6)]
    return [System("lenskern", *setting, lambda s=setting: partial(_lenskern, *s)) for setting in settings]


def _lenskern(backend, dtype, tol, case):
    columns = [jnp.asarray(column, dtype) for column in case.columns()]
    template = deflect_systems.planes(case.cones[0], np.dtype(dtype))
    count = template.halos.mask.shape[-1]
    halos = jax.vmap(jax.vmap(lambda *parts: tnfw(*parts).pad(count)))(*columns)
    lanes = partial(jax.tree.map, lambda x: jnp.broadcast_to(x, (case.batch, *jnp.shape(x))))
    planes = dataclasses.replace(jax.tree.map(jnp.asarray, lanes(template)), halos=halos)
    system = simulate.System(planes, (lanes(case.source.profile()),), overflow=jnp.zeros(case.batch, int))
    keys = jax.random.split(jax.random.key(0), case.batch)
    options = {
        "over_sampling": case.over_sampling,
        "exposure_time": EXPOSURE_TIME,
        "background": SKY,
        "tol": tol,
        "backend": backend,
        "dtype": dtype,
    }
    shape = (case.side, case.side)
    scene = simulate.Scene(shape, case.pixel_scale, psf=np.asarray(case.kernel, dtype), **options)
    sharp = simulate.Scene(shape, case.pixel_scale, **options)
    images = jax.jit(jax.vmap(simulate.simulate, (None, 0, 0))).lower(scene, system, keys).compile()
    first = jax.tree.map(lambda x: x[0], system)
    return Calls(partial(images, scene, system, keys), partial(simulate.simulate, sharp, first, keys[0], noise=False))
