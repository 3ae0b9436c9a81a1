"""Radial tables: profiles without a closed form, as piecewise Chebyshev interpolants of their mean convergence."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .projection import Projection, antiderivative, chebyshev_points, clenshaw, derivative, to_coefficients

__all__ = [
    "RadialTables",
    "convergence",
    "evaluate",
    "from_density",
    "from_mean_convergence",
    "from_projected_mass",
    "potential",
]

# g is analytic in ln u within π/2 of the real axis for all profiles named here: 60 segments of the default range with
# 16 points each then leave 1e-14. x = 1 is a boundary for every multiple of 5.
SEGMENTS, POINTS = 60, 16
X_MIN, X_MAX = 1e-6, 1e4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RadialTables:
    """Mean convergence g(u) of T profiles, u = (R/s)², for `lenskern.deflect.from_table`.

    Each of S equal segments of ln u has D Chebyshev points of the first kind, t_j = cos(π (j + 1/2)/D), t = 1 being the
    upper end of the segment. Below the range g is a power law with the slope at its edge, above it g ∝ 1/u: all the
    mass is inside. A pytree; derivatives flow to `values`.

    Attributes
    ----------
    values : (T, S, D) array
        g at the points, dimensionless.
    ln_u_min, ln_u_max : float
        The range; static.
    """

    values: jax.Array
    ln_u_min: float = dataclasses.field(default=2 * math.log(X_MIN), metadata={"static": True})
    ln_u_max: float = dataclasses.field(default=2 * math.log(X_MAX), metadata={"static": True})

    def __len__(self):
        return self.values.shape[-3]

    def append(self, other):
        """The tables of both, these first.

        Parameters
        ----------
        other : RadialTables
            Of the same range, number of segments and points, and dtype.

        Returns
        -------
        RadialTables

        Raises
        ------
        ValueError
            If they do not fit together.
        """
        mine, theirs = ((t.ln_u_min, t.ln_u_max, *t.values.shape[-2:], str(t.values.dtype)) for t in (self, other))
        if mine != theirs:
            raise ValueError(
                f"tables: got (ln_u_min, ln_u_max, segments, points, dtype) = {mine} and {theirs}, expected them equal"
            )
        return dataclasses.replace(self, values=jnp.concatenate([self.values, other.values], -3))


@jax.jit
def evaluate(tables, index, u):
    """Mean convergence g(u).

    Parameters
    ----------
    tables : RadialTables
    index : int array
        Row of the table.
    u : array
        (R/s)² > 0; broadcast with index.

    Returns
    -------
    array
    """
    value, _ = _value_and_slope(tables, index, u)
    return value


@jax.jit
def convergence(tables, index, u):
    """Convergence k(u) = g + dg/d(ln u), 0 above the range of the table.

    Its error is some 1e-11 of g, where g itself has 1e-13.

    Parameters
    ----------
    tables, index, u
        As for `evaluate`.

    Returns
    -------
    array
    """
    value, slope = _value_and_slope(tables, index, u)
    return value + slope


@jax.jit
def potential(tables, index, u):
    """Potential w(u) = ½ ∫₀ᵘ g du'.

    What lies below the range enters by the power law; for a profile that is none there, such as NFW, that is wrong by
    some 1e-2 x_min².

    Parameters
    ----------
    tables, index, u
        As for `evaluate`.

    Returns
    -------
    array
    """
    index, u = jnp.broadcast_arrays(index, u)
    n, span, dtype = tables.values.shape[-1], _span(tables), tables.values.dtype
    coefficients = _coefficients(tables)
    l, segment, t = _locate(tables, u)
    low, high = jnp.minimum(l - tables.ln_u_min, 0), jnp.maximum(l - tables.ln_u_max, 0)
    # ∫ g u d(ln u), with u in units of that at the start of the segment so that it stays in the range of float32.
    starts = np.exp(tables.ln_u_min + span * np.arange(tables.values.shape[-2])).astype(dtype)
    weighted = tables.values * np.exp(span * (chebyshev_points(n) + 1) / 2).astype(dtype)
    pieces = weighted @ (to_coefficients(n) @ antiderivative(n) * (span / 2)).astype(dtype)
    totals = pieces.sum(-1) * starts
    # Below the range ∫ g du = g u/(1 + p) with the exponent p of the power law; above it g u is constant.
    edge, power = _edge(tables, coefficients)
    first = edge * starts[0] / (1 + power)
    before = first[:, None] + jnp.cumsum(totals, -1) - totals
    inside = before[index, segment] + clenshaw(pieces[index, segment], t) * jnp.asarray(starts)[segment]
    last = coefficients[:, -1].sum(-1) * np.exp(tables.ln_u_max).astype(dtype)
    below = first[index] * jnp.exp((1 + power[index]) * low)
    return (jnp.where(low < 0, below, inside) + last[index] * high) / 2


def from_mean_convergence(function, *parameters, x_min=X_MIN, x_max=X_MAX, segments=SEGMENTS, points=POINTS):
    """Tables of a profile whose mean convergence is known.

    Parameters
    ----------
    function : callable
        ``function(x, *parameters)``: g, the mean convergence inside the radius x in units of the scale radius, for an
        amplitude of 1. It is called with an array of any shape and scalar parameters, and must be traceable and smooth.
    *parameters : arrays
        Arrays with a leading axis of T: one table for each; none for a single table.
    x_min, x_max : float
        Range of x, Python numbers.
    segments, points : int
        Size of the tables.

    Returns
    -------
    RadialTables

    Raises
    ------
    ValueError
        For a range or a size that is not valid, or parameters of different lengths.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from lenskern.deflect import tables
    >>> plummer = tables.from_mean_convergence(lambda x, core: 1 / (core**2 + x**2), jnp.array([0.5, 2.0]))
    >>> print(tables.evaluate(plummer, jnp.array([0, 1]), 1.0))
    [0.8 0.2]
    """
    grid = _grid(x_min, x_max, segments, points)
    _, values = _sample(function, parameters, grid.ln_u() / 2)
    return RadialTables(values, grid.ln_u_min, grid.ln_u_max)


def from_projected_mass(function, *parameters, x_min=X_MIN, x_max=X_MAX, segments=SEGMENTS, points=POINTS):
    """Tables of a profile whose projected mass is known.

    Parameters
    ----------
    function : callable
        ``function(x, *parameters)``: m(x), the mass inside the projected radius x in units of 4π ρ_s r_s³, so that the
        amplitude is κ_s = ρ_s r_s/Σ_cr and g = 4 m/x².
    *parameters, x_min, x_max, segments, points
        As for `from_mean_convergence`.

    Returns
    -------
    RadialTables

    Raises
    ------
    ValueError
        As `from_mean_convergence`.
    """

    def mean(x, *parameters):
        return 4 * function(x, *parameters) / x**2

    return from_mean_convergence(mean, *parameters, x_min=x_min, x_max=x_max, segments=segments, points=points)


def from_density(function, *parameters, x_min=X_MIN, x_max=X_MAX, segments=SEGMENTS, points=POINTS):
    """Tables of a profile whose density is known.

    The density is projected by quadrature that keeps 1e-13 for a density that is smooth in ln y on the scale of a
    segment. Beyond three decades outside the range it is taken for a power law.

    Parameters
    ----------
    function : callable
        ``function(y, *parameters)``: the density at the radius y = r/r_s in units of ρ_s, so that the amplitude is
        κ_s = ρ_s r_s/Σ_cr. It must be traceable, above 0 or at least not below, less steep than y⁻³ at the centre and
        steeper than y⁻¹ far away.
    *parameters, x_min, x_max, segments, points
        As for `from_mean_convergence`.

    Returns
    -------
    RadialTables
        NaN where the mass is infinite.

    Raises
    ------
    ValueError
        As `from_mean_convergence`.

    Examples
    --------
    >>> from lenskern.deflect import tables
    >>> hernquist = tables.from_density(lambda y: 1 / (y * (1 + y) ** 3))
    >>> print(f"{float(tables.evaluate(hernquist, 0, 1.0)):.5f}")
    0.66667
    """
    grid = _grid(x_min, x_max, segments, points)
    projection = Projection(grid.ln_u_min, grid.ln_u_max, segments, points)
    y, density = _sample(function, parameters, projection.ln_y())
    return RadialTables(projection.mean_convergence(y * density), grid.ln_u_min, grid.ln_u_max)


@dataclasses.dataclass(frozen=True)
class _Grid:
    ln_u_min: float
    ln_u_max: float
    segments: int
    points: int

    def ln_u(self):
        span = (self.ln_u_max - self.ln_u_min) / self.segments
        starts = self.ln_u_min + span * np.arange(self.segments)
        return starts[:, None] + span * (chebyshev_points(self.points) + 1) / 2


def _grid(x_min, x_max, segments, points):
    x_min, x_max = _checks.positive_float("x_min", x_min), _checks.positive_float("x_max", x_max)
    if x_max <= x_min:
        raise ValueError(f"x_max: got {x_max}, expected more than x_min, {x_min}")
    if _checks.positive_int("points", points) < 2:
        raise ValueError(f"points: got {points}, expected at least 2")
    return _Grid(2 * math.log(x_min), 2 * math.log(x_max), _checks.positive_int("segments", segments), points)


def _sample(function, parameters, ln_x):
    """The radii, and the function there for every set of parameters: (T, *shape)."""
    lengths = {np.shape(p)[:1] for p in parameters}
    if len(lengths) > 1 or () in lengths:
        raise ValueError(f"parameters: got shapes {[np.shape(p) for p in parameters]}, expected one leading length T")
    dtype = jnp.result_type(0.0, *parameters)
    x = jnp.asarray(np.exp(ln_x), dtype)
    values = jax.vmap(function, (None, *(0 for _ in parameters)))(x, *parameters) if parameters else function(x)[None]
    if values.shape[1:] != x.shape:
        raise ValueError(f"function: got shape {values.shape[1:]} for radii of shape {x.shape}, expected that shape")
    return x, values.astype(dtype)


def _span(tables):
    return (tables.ln_u_max - tables.ln_u_min) / tables.values.shape[-2]


def _coefficients(tables):
    """Chebyshev coefficients of g, (T, S, D)."""
    return tables.values @ to_coefficients(tables.values.shape[-1]).astype(tables.values.dtype)


def _locate(tables, u):
    """ln u, the segment it is in, and where in the segment, from −1 to 1."""
    l = jnp.log(u)
    s = (jnp.clip(l, tables.ln_u_min, tables.ln_u_max) - tables.ln_u_min) / _span(tables)
    segment = jnp.clip(s.astype(jnp.int32), 0, tables.values.shape[-2] - 1)
    return l, segment, 2 * (s - segment) - 1


def _derivative(tables):
    """Matrix from Chebyshev coefficients of g to those of dg/d(ln u).

    Coefficients of a function that is analytic within π/2 fall as ρ⁻ᵏ. Those that are below the rounding of the values
    hold nothing else, of which a derivative would make k² times as much: they are left out.
    """
    ratio = math.pi / _span(tables)
    ratio += math.hypot(ratio, 1)
    resolved = -math.log(np.finfo(tables.values.dtype).eps) / math.log(ratio)
    matrix = derivative(tables.values.shape[-1]) * (2 / _span(tables))
    matrix[math.ceil(resolved) + 1 :] = 0
    return matrix


def _edge(tables, coefficients):
    """g and d(ln g)/d(ln u) at the lower end of the range, (T,) each."""
    n = tables.values.shape[-1]
    signs = (-1.0) ** np.arange(n)
    value = coefficients[..., 0, :] @ signs.astype(coefficients.dtype)
    change = coefficients[..., 0, :] @ (_derivative(tables) @ signs).astype(coefficients.dtype)
    return value, change / jnp.where(value == 0, 1, value)


def _value_and_slope(tables, index, u):
    """g and dg/d(ln u)."""
    index, u = jnp.broadcast_arrays(index, u)
    coefficients = _coefficients(tables)
    _, power = _edge(tables, coefficients)
    l, segment, t = _locate(tables, u)
    here = coefficients[index, segment]
    slopes = coefficients @ _derivative(tables).astype(coefficients.dtype)
    value, slope = clenshaw(here, t), clenshaw(slopes[index, segment], t)
    low, high = jnp.minimum(l - tables.ln_u_min, 0), jnp.maximum(l - tables.ln_u_max, 0)
    value = value * jnp.exp(power[index] * low - high)
    return value, jnp.where(low < 0, power[index] * value, jnp.where(high > 0, -value, slope))
