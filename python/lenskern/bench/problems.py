"""Non-negative systems of strong-lens inversions: a seeded generator of our own, and a loader for stored ones."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from lenskern.bench import lensing, meshes, oracle

KINDS = ("mge", "rect", "delaunay")


@dataclass(frozen=True)
class System:
    """One non-negative quadratic program: minimise x'Qx / 2 - q'x over x >= 0.

    Parameters
    ----------
    name, kind : str
    Q : ndarray, shape (K, K)
    q : ndarray, shape (K,)
    x : ndarray, shape (K,), or None
        The exact solution where it is known.
    """

    name: str
    kind: str
    Q: np.ndarray
    q: np.ndarray
    x: np.ndarray | None = None


@dataclass(frozen=True)
class Inversion(System):
    """A generated system with the observation and the model that it comes from.

    Parameters
    ----------
    sky : lensing.Sky
        The observation.
    lens : lensing.Lens
        The lens model that the inversion assumes; in general not the true one.
    light : ndarray, shape (side * side, lens_gaussians) or (side * side, K)
        Images before the PSF of the Gaussians, those of the lens first.
    mesh : meshes.Mesh or None
        The pixelised source; its pixels are the last parameters.
    source_gaussians : tuple or None
        (centre, ell_comps, sigmas) of the Gaussians of the source, the last parameters.
    lens_gaussians : int
        Parameters of the lens light, the first ones.
    """

    sky: lensing.Sky = None
    lens: lensing.Lens = None
    light: np.ndarray = None
    mesh: meshes.Mesh | None = None
    source_gaussians: tuple | None = None
    lens_gaussians: int = 0

    def model(self, x):
        """Model image of the unmasked pixels for parameters x, shape (K,)."""
        image = self.light @ x[: self.light.shape[1]]
        if self.mesh is not None:
            image = image + self.mesh.mapping @ x[self.lens_gaussians :]
        return self.sky.blur(image)

    def source_brightness(self, x, points):
        """Source-plane brightness at (..., 2) points of a source made of Gaussians."""
        centre, ell_comps, sigmas = self.source_gaussians
        r2 = lensing.elliptical_radius_squared(points, centre, ell_comps)
        return sum(v * np.exp(r2 / (-2 * s**2)) for v, s in zip(x[self.lens_gaussians :], sigmas, strict=True) if v > 0)


def observe(seed, grid=None):
    """The observation of a drawn lens and source that `inversion` models.

    Parameters
    ----------
    seed : int
    grid : lensing.Grid, optional
        By default 0.05 arcsec pixels within 3.5 arcsec.

    Returns
    -------
    lensing.Sky
    """
    return lensing.draw_sky(np.random.default_rng(seed), grid or lensing.Grid())


def inversion(kind, seed, draw=0, *, sky=None, mesh_size=None, gaussians=None, grid=None, style=None):
    """Generate one lens-like inversion.

    A lens and a clumpy source are drawn, ray-traced, blurred and observed with noise; then a model of it is linearised:
    Gaussians for the lens light and a source of the given kind behind a lens model that is close to the true one or
    drawn from the priors, as a sampler proposes it.

    Parameters
    ----------
    kind : {"mge", "rect", "delaunay"}
        The source: Gaussians, an adaptive rectangular mesh, a Delaunay mesh.
    seed : int
        Seed of the observation. Equal arguments give equal systems.
    draw : int
        Seed of the model of that observation.
    sky : lensing.Sky, optional
        ``observe(seed, grid)``, to make it once for many draws.
    mesh_size : int, optional
        Pixels of the mesh along each axis (rect, default 35, the edge is then removed) or its vertices (delaunay,
        default 1201).
    gaussians : int, optional
        Gaussians of the lens light, by default 60 before a mesh and 20 with a source of as many Gaussians.
    grid : lensing.Grid, optional
        See `observe`.
    style : {"truth", "posterior", "prior"}, optional
        The true lens model with a fine, lightly smoothed source; one near it; or a draw from the priors. By default one
        of the last two, with equal chances.

    Returns
    -------
    Inversion
        Without ``x``; see `solved`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if style not in (None, "truth", "posterior", "prior"):
        raise ValueError(f"style: expected 'truth', 'posterior' or 'prior', got {style!r}")
    sky = sky or observe(seed, grid)
    grid = sky.grid
    rng = np.random.default_rng([seed, KINDS.index(kind), draw])
    drawn = ("posterior", "prior")[rng.integers(2)]
    style = style or drawn
    lens, centre, ell_comps = _model(rng, sky, style)

    size = gaussians or (20 if kind == "mge" else 60)
    sigmas = np.geomspace(1e-4, grid.mask_radius, size)
    points = grid.points(4)
    light = lensing.gaussians(points, centre, ell_comps, sigmas)
    mesh = source = None
    if kind == "mge":
        source = (*_source_shape(rng, sky, style), sigmas)
        light = np.concatenate([light, lensing.gaussians(lens.trace(points), *source)], 1)
        F = sky.blur(light)
    else:
        mesh = _mesh(rng, kind, mesh_size, sky, lens, style)
        F = np.concatenate([sky.blur(light), sky.blur(mesh.mapping).toarray()], 1)
    F /= sky.noise[:, None]
    Q = F.T @ F
    q = F.T @ (sky.data / sky.noise)
    free = np.arange(light.shape[1])
    Q[free, free] += 1e-3  # what PyAutoLens adds where nothing regularises
    if mesh is not None:
        Q[size:, size:] += mesh.regularisation
    return Inversion(
        name=f"{kind}_{seed}" + (f"_{draw}" if draw else ""),
        kind=kind,
        Q=0.5 * (Q + Q.T),
        q=q,
        sky=sky,
        lens=lens,
        light=light,
        mesh=mesh,
        source_gaussians=source,
        lens_gaussians=size,
    )


def _model(rng, sky, style):
    """Lens model, and centre and ellipticity of the lens light."""
    true, bulge = sky.lens, sky.lens_light[0]
    if style == "prior":
        lens = replace(
            lensing.draw_lens(rng),
            centre=tuple(rng.normal(0, 0.05, 2)),
            einstein_radius=true.einstein_radius * rng.uniform(0.75, 1.25),
        )
        return lens, tuple(rng.normal(0, 0.05, 2)), tuple(rng.normal(0, 0.15, 2))
    if style == "truth":
        return true, bulge.centre, bulge.ell_comps
    lens = lensing.Lens(
        centre=tuple(true.centre + rng.normal(0, 0.004, 2)),
        einstein_radius=true.einstein_radius * (1 + rng.normal(0, 0.004)),
        ell_comps=tuple(true.ell_comps + rng.normal(0, 0.01, 2)),
        shear=tuple(true.shear + rng.normal(0, 0.005, 2)),
    )
    return (
        lens,
        tuple(bulge.centre + rng.normal(0, 0.002, 2)),
        tuple(bulge.ell_comps + rng.normal(0, 0.01, 2)),
    )


def _source_shape(rng, sky, style):
    """Centre and ellipticity of the Gaussians of the source."""
    if style == "prior":
        return tuple(rng.normal(0, 0.1, 2)), tuple(rng.normal(0, 0.2, 2))
    main = sky.source[0]
    if style == "truth":
        return main.centre, main.ell_comps
    return tuple(main.centre + rng.normal(0, 0.005, 2)), tuple(main.ell_comps + rng.normal(0, 0.02, 2))


def _mesh(rng, kind, mesh_size, sky, lens, style):
    """Source mesh of the given kind behind the lens model."""
    grid = sky.grid
    inside = np.nonzero(grid.mask())[0]
    traced = lens.trace(grid.points(4 if kind == "rect" else 2)[inside])
    centres = traced.mean(1)
    # the signal that adapts the smoothing: the adapt image averaged in the source plane
    coefficient = 10 ** rng.uniform(-0.3, 1.2)
    adaptive = rng.random() < 0.5
    # cells follow the density of the traced image pixels, or the lensed source as well
    floor = (1e3, 1.0, 0.1)[rng.choice(3, p=(0.6, 0.2, 0.2))]
    coefficients = (coefficient, coefficient * (10 ** rng.uniform(0.0, 1.0) if adaptive else 1.0))
    if style == "truth":
        floor, coefficients = 0.1, (0.5, 4.0)

    def brightness(positions):
        return _smoothed(centres, sky.adapt, positions)

    if kind == "rect":
        weights = floor + sky.adapt
        return meshes.rectangular(traced, inside, grid.side**2, weights, mesh_size or 35, coefficients, brightness)
    count = mesh_size or 1201
    chance = floor + sky.adapt
    chosen = rng.choice(len(inside), count, replace=False, p=chance / chance.sum())
    at = grid.points()[inside[chosen], 0] + rng.uniform(-0.4, 0.4, (count, 2)) * grid.pixel_scale
    angle = 2 * np.pi * np.arange(30) / 30
    edge = (grid.mask_radius + grid.pixel_scale) * np.stack([np.sin(angle), np.cos(angle)], -1)
    return meshes.delaunay(traced, inside, grid.side**2, lens.trace(at), lens.trace(edge), coefficients, brightness)


def _smoothed(points, values, positions, neighbours=8):
    """Mean of the values at the nearest points, scaled to 1."""
    _, index = cKDTree(points).query(positions, neighbours)
    mean = values[index].mean(1)
    return mean / max(mean.max(), 1e-300)


def solved(system):
    """The system with its exact solution."""
    return system if system.x is not None else replace(system, x=oracle.exact(system.Q, system.q).x)


def load(directory=None, kinds=KINDS):
    """Systems stored as ``{kind}_{number}.npz``, sorted by name.

    Arrays of a file: ``Q_lower`` (the lower triangle in the order of ``numpy.tril_indices``) or ``Q``, ``q``, and
    optionally ``x``.

    Parameters
    ----------
    directory : str or path, optional
        By default the environment variable ``LENSKERN_PROBLEMS``; without either there is nothing to load.
    kinds : sequence of str
        Which kinds to load.

    Returns
    -------
    list of System
    """
    directory = directory or os.environ.get("LENSKERN_PROBLEMS")
    if not directory:
        return []
    if not Path(directory).is_dir():
        raise ValueError(f"problems: expected a directory, got {str(directory)!r}")
    systems = []
    for path in sorted(Path(directory).glob("*.npz")):
        kind = path.stem.split("_")[0]
        if kind not in kinds:
            continue
        with np.load(path) as arrays:
            q = arrays["q"]
            if "Q" in arrays:
                Q = arrays["Q"]
            else:
                Q = np.zeros((len(q), len(q)))
                Q[np.tril_indices(len(q))] = arrays["Q_lower"]
                Q = Q + np.tril(Q, -1).T
            systems.append(System(path.stem, kind, Q, q, arrays["x"] if "x" in arrays else None))
    return systems
