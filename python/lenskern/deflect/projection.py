"""From a density to the mean convergence: one matrix, since projecting is linear and scale-free.

With q(y) = y ρ(y) the mean convergence inside x is, for an amplitude of ρ_s r_s/Σ_cr,

    g(x) = 4 ∫ φ(y/x) q(y) d(ln y),    φ(t) = t² for t < 1,  1/(1 + √(1 − 1/t²)) for t > 1,

which is the mass of the shells inside x and of the caps of those outside. It is a convolution in ln y. Interpolating q
by Chebyshev polynomials on the segments of the table makes it a matrix that depends on nothing but the grid; every term
of the integral is positive, so that the result has the relative accuracy of the interpolant.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

# The density is sampled this much farther than the table, both ways; beyond, it is a power law.
_DECADES = 3


def chebyshev_points(n):
    """Points of the first kind, from +1 down."""
    return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def to_coefficients(n):
    """(n, n) matrix: values at the points (rows) to Chebyshev coefficients (columns)."""
    order = np.arange(n)
    return np.where(order == 0, 1, 2) / n * np.cos(np.pi * np.outer(np.arange(n) + 0.5, order) / n)


def clenshaw(coefficients, t):
    """Sum of Chebyshev polynomials with the coefficients of the last axis."""
    b1, b2 = jnp.zeros_like(coefficients[..., 0] * t), 0
    for k in range(coefficients.shape[-1] - 1, 0, -1):
        b1, b2 = coefficients[..., k] + 2 * t * b1 - b2, b1
    return coefficients[..., 0] + t * b1 - b2


def derivative(n):
    """(n, n) matrix: Chebyshev coefficients (rows) to those of the derivative (columns)."""
    return np.stack([np.pad(np.polynomial.chebyshev.chebder(row), (0, 1)) for row in np.eye(n)])


def antiderivative(n):
    """(n, n + 1) matrix: Chebyshev coefficients (rows) to those of the integral from −1 (columns)."""
    return np.stack([np.polynomial.chebyshev.chebint(row, lbnd=-1) for row in np.eye(n)])


class Projection:
    """The sample points of a density for a grid of ln u, and the projection from them.

    Parameters
    ----------
    ln_u_min, ln_u_max : float
    segments, points : int
        Those of the tables.
    """

    def __init__(self, ln_u_min, ln_u_max, segments, points):
        self.segments, self.points = segments, points
        self.length = (ln_u_max - ln_u_min) / 2 / segments
        self.more = math.ceil(_DECADES * math.log(10) / self.length)
        self.start = ln_u_min / 2 - self.more * self.length
        self.centres = self.start + self.length * (np.arange(segments + 2 * self.more) + 0.5)

    def ln_y(self):
        """(S + extra, D) array of ln y at which the density is needed."""
        return self.centres[:, None] + self.length / 2 * chebyshev_points(self.points)

    def mean_convergence(self, q):
        """g of the tables from q = y ρ(y).

        Parameters
        ----------
        q : (T, S + extra, D) array

        Returns
        -------
        (T, S, D) array
            NaN where the density is as steep as y⁻³ at the inner end or not steeper than y⁻¹ at the outer one: the mass
            is infinite.
        """
        # The barrier keeps XLA from taking minutes to multiply constant densities or cotangents at compile time.
        blocks = jax.lax.optimization_barrier(jnp.asarray(self._blocks(), q.dtype))
        # Block (i, j) depends on i - j alone.
        first = np.arange(len(self.centres))[:, None] - np.arange(self.segments)[None, :] + self.segments - 1
        matrix = blocks[first]
        g = jnp.einsum("tiy,ijyx->tjx", q, matrix)
        x = np.exp(self.ln_y()[self.more : self.more + self.segments])
        inner, outer = np.exp(self.start), np.exp(self.start + self.length * len(self.centres))
        value, slope = self._edge(q[:, 0], -1)
        g += _tail(value, 2 + slope)[:, None, None] * ((inner / x) ** 2).astype(q.dtype)
        value, slope = self._edge(q[:, -1], 1)
        near, far = _tail(value, -slope), _tail(value, 2 - slope)
        g += near[:, None, None] / 2 + far[:, None, None] * ((x / outer) ** 2 / 8).astype(q.dtype)
        return 4 * g

    def _edge(self, q, end):
        """q and d(ln q)/d(ln y) at an end of a segment."""
        n = self.points
        coefficients = q @ to_coefficients(n).astype(q.dtype)
        signs = (float(end) ** np.arange(n)).astype(q.dtype)
        value = coefficients @ signs
        change = coefficients @ (derivative(n) @ signs * (2 / self.length)).astype(q.dtype)
        return value, change / jnp.where(value > 0, value, 1)

    def _blocks(self):
        """(2 S + extra − 1, D, D) array: weight of point y of a segment of q in point x of a segment that lies so much
        below."""
        n, h = self.points, self.length
        basis = to_coefficients(n).T
        x = h / 2 * chebyshev_points(n)  # ln x from the centre of its segment
        offsets = np.arange(-(self.segments - 1), len(self.centres)) - self.more
        nodes, weights = np.polynomial.legendre.leggauss(48)
        blocks = np.zeros((len(offsets), n, n))
        for block, offset in zip(blocks, offsets, strict=True):
            low, high = (offset - 0.5) * h, (offset + 0.5) * h
            # The part with y < x, of density t².
            middle, half = (low + np.clip(x, low, high)) / 2, (np.clip(x, low, high) - low) / 2
            s = middle[:, None] + half[:, None] * nodes
            _accumulate(block, basis, s, weights * half[:, None] * np.exp(2 * (s - x[:, None])), low, h)
            # The part with y > x: ln(y/x) = v² takes the root at y = x out of the integrand.
            ends = np.sqrt(np.maximum([low - x, high - x], 0))
            middle, half = ends.sum(0) / 2, (ends[1] - ends[0]) / 2
            v = middle[:, None] + half[:, None] * nodes
            density = 2 * v / (1 + np.sqrt(-np.expm1(-2 * v**2)))
            _accumulate(block, basis, x[:, None] + v**2, weights * half[:, None] * density, low, h)
        return blocks


def _accumulate(block, basis, s, weights, low, length):
    """Add ∫ w(s) ℓ_y(s) ds to block[y, x]."""
    t = np.clip(2 * (s - low) / length - 1, -1, 1)
    chebyshev = np.cos(np.arange(basis.shape[0]) * np.arccos(t)[..., None])
    block += basis.T @ np.einsum("xk,xkn->nx", weights, chebyshev)


def _tail(value, power):
    """∫ of a power law of this (positive) exponent that ends at value; 0 where there is nothing left to integrate."""
    return jnp.where(value > 0, jnp.where(power > 0, value / jnp.where(power > 0, power, 1), jnp.nan), 0)
