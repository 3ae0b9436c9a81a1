"""A simulated strong lens: image grid, ray tracing, light profiles, PSF and noise, in NumPy.

Coordinates are in arcsec and in (y, x) order, as in PyAutoLens; y grows upwards, rows of an image downwards.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Grid:
    """Square image with a circular mask.

    Parameters
    ----------
    pixel_scale : float
        Arcsec per pixel.
    mask_radius : float
        Radius of the circular mask in arcsec; the image is the smallest square around it.
    """

    pixel_scale: float = 0.05
    mask_radius: float = 3.5

    @property
    def side(self):
        """Pixels along each axis of the square image."""
        return round(2 * self.mask_radius / self.pixel_scale)

    @property
    def extent(self):
        """(left, right, bottom, top) in arcsec, for matplotlib's ``imshow``."""
        half = self.side * self.pixel_scale / 2
        return (-half, half, -half, half)

    def points(self, sub=1):
        """Sub-pixel centres, shape (side * side, sub * sub, 2), in arcsec."""
        n = self.side * sub
        axis = (np.arange(n) - (n - 1) / 2) * self.pixel_scale / sub
        y, x = np.meshgrid(-axis, axis, indexing="ij")
        points = np.stack([y, x], -1).reshape(self.side, sub, self.side, sub, 2)
        return points.transpose(0, 2, 1, 3, 4).reshape(self.side**2, sub * sub, 2)

    def mask(self):
        """True inside the circle, shape (side * side,)."""
        return np.hypot(*self.points()[:, 0].T) <= self.mask_radius

    def image(self, values):
        """Put the values of the unmasked pixels into a (side, side) image, NaN outside the mask."""
        image = np.full(self.side**2, np.nan)
        image[self.mask()] = values
        return image.reshape(self.side, self.side)


@dataclass(frozen=True)
class Lens:
    """Singular isothermal ellipsoid with external shear.

    Parameters
    ----------
    centre : tuple of float
        (y, x) in arcsec.
    einstein_radius : float
        In arcsec, at the intermediate axis: kappa = einstein_radius / (2 sqrt(q x^2 + y^2 / q)) on the principal axes.
    ell_comps : tuple of float
        (e_y, e_x) = (1 - q) / (1 + q) * (sin 2 phi, cos 2 phi).
    shear : tuple of float
        (gamma_2, gamma_1).
    """

    centre: tuple = (0.0, 0.0)
    einstein_radius: float = 1.6
    ell_comps: tuple = (0.0, 0.1)
    shear: tuple = (0.0, 0.0)

    def deflection(self, points):
        """Deflection at (..., 2) points, in arcsec (Kormann, Schneider & Bartelmann 1994)."""
        q, phi = axis_ratio_and_angle(self.ell_comps)
        q = min(q, 0.9999)  # the closed form divides by the ellipticity
        y, x = np.moveaxis(points - np.asarray(self.centre), -1, 0)
        c, s = np.cos(phi), np.sin(phi)
        u, v = c * x + s * y, c * y - s * x
        f = np.sqrt(1 - q**2)
        psi = np.maximum(np.sqrt(q**2 * u**2 + v**2), 1e-12)
        scale = self.einstein_radius * np.sqrt(q) / f
        au, av = scale * np.arctan(f * u / psi), scale * np.arctanh(f * v / psi)
        g2, g1 = self.shear
        py, px = np.moveaxis(points, -1, 0)
        return np.stack([s * au + c * av + g2 * px - g1 * py, c * au - s * av + g1 * px + g2 * py], -1)

    def trace(self, points):
        """Source-plane positions of (..., 2) image-plane points, in arcsec."""
        return points - self.deflection(points)


def axis_ratio_and_angle(ell_comps):
    """Axis ratio and position angle (radians, counter-clockwise from x) of (e_y, e_x)."""
    ey, ex = ell_comps
    e = min(np.hypot(ey, ex), 0.95)
    return (1 - e) / (1 + e), 0.5 * np.arctan2(ey, ex)


def elliptical_radius_squared(points, centre, ell_comps):
    """q u^2 + v^2 / q on the principal axes, arcsec^2, shape of ``points`` without its last axis."""
    q, phi = axis_ratio_and_angle(ell_comps)
    y, x = np.moveaxis(points - np.asarray(centre), -1, 0)
    c, s = np.cos(phi), np.sin(phi)
    u, v = c * x + s * y, c * y - s * x
    return q * u**2 + v**2 / q


@dataclass(frozen=True)
class Sersic:
    """Elliptical Sersic profile of brightness ``intensity`` at ``effective_radius`` (arcsec)."""

    centre: tuple
    ell_comps: tuple
    intensity: float
    effective_radius: float
    index: float

    def brightness(self, points):
        """Surface brightness at (..., 2) points."""
        r = np.sqrt(elliptical_radius_squared(points, self.centre, self.ell_comps)) / self.effective_radius
        n = self.index
        b = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)  # Ciotti & Bertin 1999
        return self.intensity * np.exp(-b * (r ** (1 / n) - 1))


def gaussians(points, centre, ell_comps, sigmas):
    """Images of elliptical Gaussians of unit peak, averaged over the sub-pixels of each pixel.

    Parameters
    ----------
    points : ndarray, shape (pixels, sub * sub, 2)
        Sub-pixels in the order of `Grid.points`, in the plane of the light; sub is even.
    sigmas : ndarray, shape (n,)
        Arcsec.

    Returns
    -------
    ndarray, shape (pixels, n)
    """
    pixels, subs = points.shape[:2]
    sub = round(np.sqrt(subs))
    fine = elliptical_radius_squared(points, centre, ell_comps)
    nearest = fine.min(1)
    # a Gaussian that is wide for a pixel is smooth over it: 2 x 2 sub-pixels do
    halves = points.reshape(pixels, 2, sub // 2, 2, sub // 2, 2).mean((2, 4)).reshape(pixels, 4, 2)
    coarse = elliptical_radius_squared(halves, centre, ell_comps)
    columns = np.zeros((pixels, len(sigmas)))
    for i, sigma in enumerate(sigmas):
        near = nearest < 1400 * sigma**2  # beyond, the exponential underflows
        r2 = (coarse if sigma > 0.1 else fine)[near]
        count = r2.shape[1]
        columns[near, i] = np.exp(r2 / (-2 * sigma**2)) @ np.full(count, 1 / count)
    return columns


def psf(grid, sigma=0.08, half_width=4):
    """Blurring by a normalised Gaussian along y and along x as sparse matrices, shape (side * side, side * side).

    Parameters
    ----------
    sigma : float
        Standard deviation in arcsec.
    half_width : int
        The kernel has 2 * half_width + 1 pixels a side.
    """
    offset = np.arange(-half_width, half_width + 1)
    kernel = np.exp(-0.5 * (offset * grid.pixel_scale / sigma) ** 2)
    band = sparse.diags_array(list(kernel / kernel.sum()), offsets=list(offset), shape=(grid.side, grid.side))
    same = sparse.eye_array(grid.side)
    return sparse.kron(band, same, format="csr"), sparse.kron(same, band, format="csr")


@dataclass(frozen=True)
class Sky:
    """A simulated observation.

    Parameters
    ----------
    grid : Grid
    data, noise : ndarray, shape (pixels,)
        Counts per second of the unmasked pixels and their standard deviation.
    psf : tuple of two sparse arrays
        The PSF along y, shape (side * side, side * side), and along x, onto the unmasked pixels.
    adapt : ndarray, shape (pixels,)
        Noise-free lensed source, normalised to 1: what an adaptive mesh follows.
    lens : Lens
        The true lens.
    lens_light : tuple of Sersic
    source : tuple of Sersic
        The true light.
    """

    grid: Grid
    data: np.ndarray
    noise: np.ndarray
    psf: tuple
    adapt: np.ndarray
    lens: Lens
    lens_light: tuple
    source: tuple

    def blur(self, columns):
        """Blur images, sparse or dense, shape (side * side, ...), and keep the unmasked pixels: (pixels, ...)."""
        along_y, along_x = self.psf
        return along_x @ (along_y @ columns)


def draw_lens(rng):
    """A lens from the priors that a modeller would use."""
    return Lens(
        centre=tuple(rng.normal(0, 0.03, 2)),
        einstein_radius=rng.uniform(1.1, 1.9),
        ell_comps=tuple(rng.normal(0, 0.12, 2)),
        shear=tuple(rng.normal(0, 0.04, 2)),
    )


def draw_sky(rng, grid, exposure=300.0, background=0.1):
    """Draw a lens and its source and observe them.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : Grid
    exposure : float
        Seconds.
    background : float
        Sky level in counts per second, subtracted from the data and kept in the noise.
    """
    lens = draw_lens(rng)
    bulge = Sersic(
        lens.centre,
        tuple(0.8 * np.asarray(lens.ell_comps) + rng.normal(0, 0.03, 2)),
        rng.uniform(0.3, 1.0),
        rng.uniform(0.4, 0.9),
        rng.uniform(2.5, 4.5),
    )
    halo = Sersic(lens.centre, tuple(rng.normal(0, 0.08, 2)), rng.uniform(0.02, 0.1), rng.uniform(1.5, 3.0), 1.0)
    middle = rng.normal(0, 0.12, 2)
    clumps = [
        Sersic(
            tuple(middle),
            tuple(rng.normal(0, 0.25, 2)),
            intensity=rng.uniform(0.4, 1.5),
            effective_radius=rng.uniform(0.1, 0.35),
            index=rng.uniform(1, 3),
        )
    ]
    for _ in range(rng.integers(0, 5)):
        clumps.append(
            Sersic(
                tuple(middle + rng.normal(0, 0.18, 2)),
                tuple(rng.normal(0, 0.2, 2)),
                intensity=rng.uniform(0.5, 3.0),
                effective_radius=rng.uniform(0.03, 0.1),
                index=rng.uniform(0.5, 1.5),
            )
        )
    points = grid.points(4)
    lens_light = sum(p.brightness(points) for p in (bulge, halo)).mean(1)
    traced = lens.trace(points)
    lensed = sum(p.brightness(traced) for p in clumps).mean(1)
    along_y, along_x = psf(grid)
    along_x = along_x[grid.mask()]
    source = along_x @ (along_y @ lensed)
    counts = (along_x @ (along_y @ lens_light) + source + background) * exposure
    observed = rng.poisson(counts) / exposure
    return Sky(
        grid=grid,
        data=observed - background,
        noise=np.sqrt(np.maximum(observed, 0.2 * background) / exposure),
        psf=(along_y, along_x),
        adapt=source / source.max(),
        lens=lens,
        lens_light=(bulge, halo),
        source=tuple(clumps),
    )
