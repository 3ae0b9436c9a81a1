"""Source-plane meshes: which source pixel each image sub-pixel sees, and how neighbours are smoothed."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

# PyAutoLens adds this to the diagonal of every regularisation matrix to keep it positive definite.
FLOOR = 1e-8


@dataclass(frozen=True)
class Mesh:
    """A pixelised source.

    Parameters
    ----------
    mapping : sparse array, shape (side * side, pixels)
        Weight of each source pixel in each image pixel before the PSF; the rows of the masked pixels are empty.
    regularisation : ndarray, shape (pixels, pixels)
    vertices : ndarray, shape (pixels, 2)
        Source-plane positions (y, x) in arcsec.
    edges : tuple of two ndarray or None
        Source-plane (y, x) boundaries of the cells of a rectangular mesh; None for a triangulated one.
    """

    mapping: sparse.csr_array
    regularisation: np.ndarray
    vertices: np.ndarray
    edges: tuple | None = None


def rectangular(traced, image_pixels, image_size, weights, side, coefficients, brightness_of):
    """Adaptive rectangular mesh: cells of equal (weighted) counts along each axis, without its edge pixels.

    Parameters
    ----------
    traced : ndarray, shape (unmasked, sub * sub, 2)
        Source-plane positions of the sub-pixels, arcsec.
    image_pixels : ndarray, shape (unmasked,)
        Index of each unmasked pixel in the square image.
    image_size : int
        Pixels of the square image.
    weights : ndarray, shape (unmasked,)
        What the density of cells follows.
    side : int
        Cells along each axis, the removed ones at the edge included.
    coefficients : tuple of float
        Regularisation coefficient where the source is bright and where it is faint.
    brightness_of : callable
        Maps (n, 2) source-plane positions to the signal in [0, 1] which sets the coefficient.
    """
    count, subs = traced.shape[:2]
    points = traced.reshape(-1, 2)
    w = np.repeat(weights, subs)
    unit = np.empty_like(points)
    axes = []
    for d in range(2):
        order = np.argsort(points[:, d])
        cumulative = np.cumsum(w[order])
        cumulative = (cumulative - 0.5 * w[order]) / cumulative[-1]
        unit[:, d] = np.interp(points[:, d], points[order, d], cumulative)
        # cell centres lie at i / (side - 1) of the unit square, boundaries half-way between
        centres = np.interp(np.arange(side) / (side - 1), cumulative, points[order, d])
        bounds = np.interp((np.arange(1, side) - 0.5) / (side - 1), cumulative, points[order, d])
        axes.append((centres, bounds))
    scaled = unit * (side - 1)
    low = np.minimum(scaled.astype(int), side - 2)
    frac = scaled - low
    columns, values = [], []
    number = np.full((side, side), -1)
    number[1:-1, 1:-1] = np.arange((side - 2) ** 2).reshape(side - 2, side - 2)
    for dy in (0, 1):
        for dx in (0, 1):
            columns.append(number[low[:, 0] + dy, low[:, 1] + dx])
            fy = frac[:, 0] if dy else 1 - frac[:, 0]
            fx = frac[:, 1] if dx else 1 - frac[:, 1]
            values.append(fy * fx)
    columns = np.stack(columns, -1).reshape(count, subs, 4)
    values = np.stack(values, -1).reshape(count, subs, 4) / subs
    pixels = (side - 2) ** 2
    keep = columns >= 0
    rows = np.broadcast_to(image_pixels[:, None, None], columns.shape)
    mapping = sparse.csr_array((values[keep], (rows[keep], columns[keep])), shape=(image_size, pixels))

    yc, xc = (a[0][1:-1] for a in axes)
    vertices = np.stack(np.meshgrid(yc, xc, indexing="ij"), -1).reshape(-1, 2)
    lambda_ = _coefficients(coefficients, brightness_of(vertices))
    # every pixel keeps its four neighbours, the removed ones (held at zero) included
    R = np.diag(np.full(pixels, FLOOR))
    padded = np.full((side, side), 0.0)
    padded[1:-1, 1:-1] = lambda_.reshape(side - 2, side - 2) ** 2
    padded[0], padded[-1], padded[:, 0], padded[:, -1] = padded[1], padded[-2], padded[:, 1], padded[:, -2]
    for dy, dx in ((0, 1), (1, 0)):
        a, b = number[: side - dy, : side - dx].ravel(), number[dy:, dx:].ravel()
        strength = 0.5 * (padded[: side - dy, : side - dx] + padded[dy:, dx:]).ravel()
        for i in (a, b):
            np.add.at(R, (i[i >= 0], i[i >= 0]), strength[i >= 0])
        both = (a >= 0) & (b >= 0)
        R[a[both], b[both]] -= strength[both]
        R[b[both], a[both]] -= strength[both]
    return Mesh(mapping, R, vertices, (axes[0][1], axes[1][1]))


def delaunay(traced, image_pixels, image_size, vertices, edge, coefficients, brightness_of):
    """Delaunay mesh with barycentric interpolation; the edge vertices are held at zero and removed.

    Parameters
    ----------
    vertices : ndarray, shape (pixels, 2)
        Source-plane positions of the vertices, arcsec.
    edge : ndarray, shape (edge, 2)
        Source-plane positions of further vertices where the source is zero.

    The other parameters are those of `rectangular`.
    """
    subs = traced.shape[1]
    pixels = len(vertices)
    triangulation = Delaunay(np.concatenate([vertices, edge]))
    columns, values = _barycentric(triangulation, traced.reshape(-1, 2))
    rows = np.repeat(image_pixels, subs)[:, None].repeat(3, 1)
    keep = columns < pixels
    mapping = sparse.csr_array(
        (values[keep] / subs, (rows[keep], columns[keep])),
        shape=(image_size, pixels),
    )
    # derivatives across a cross of four points about each vertex, half the root of its area away
    areas = np.zeros(len(triangulation.points))
    corners = triangulation.points[triangulation.simplices]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    np.add.at(areas, triangulation.simplices, (np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 6)[:, None])
    offset = 0.5 * np.sqrt(np.minimum(areas[:pixels], np.percentile(areas[:pixels], 90)))
    cross = vertices[:, None] + offset[:, None, None] * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    columns, values = _barycentric(triangulation, cross.reshape(-1, 2))
    rows = np.repeat(np.arange(4 * pixels), 3)
    keep = columns.ravel() < pixels
    B = -sparse.csr_array((values.ravel()[keep], (rows[keep], columns.ravel()[keep])), shape=(4 * pixels, pixels))
    B = B + sparse.csr_array((np.ones(4 * pixels), (np.arange(4 * pixels), np.repeat(np.arange(pixels), 4))))
    strength = np.repeat(_coefficients(coefficients, brightness_of(vertices)) ** 2, 4)
    R = (B.T @ (B * strength[:, None])).toarray() + FLOOR * np.eye(pixels)
    return Mesh(mapping, R, vertices)


def _barycentric(triangulation, points):
    """Vertices and weights, both (n, 3), of the triangle around each point; outside the hull the nearest vertex."""
    simplex = triangulation.find_simplex(points)
    transform = triangulation.transform[simplex]
    two = np.einsum("nij,nj->ni", transform[:, :2], points - transform[:, 2])
    weights = np.concatenate([two, 1 - two.sum(1, keepdims=True)], 1)
    columns = triangulation.simplices[simplex]
    outside = simplex < 0
    if outside.any():
        columns[outside] = cKDTree(triangulation.points).query(points[outside])[1][:, None]
        weights[outside] = (1.0, 0.0, 0.0)
    return columns, weights


def _coefficients(coefficients, signal):
    """Regularisation coefficient of each source pixel, between the one for bright and the one for faint pixels."""
    inner, outer = coefficients
    return inner * signal + outer * (1 - signal)
