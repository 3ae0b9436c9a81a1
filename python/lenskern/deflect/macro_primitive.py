"""The primitives of the elliptical power law, which kernel runs them, and their derivatives in closed form.

With positions as complex numbers ζ = (x − x_c) + i (y − y_c) and ε = f e^{2iφ}, f = (1 − q)/(1 + q), Tessore & Metcalf
(2015) need no rotation: D = ζ − ε ζ*, w = −ε* D/D*, and

    α = B |D|^{−t} D S(w),   κ = (1 − t/2) B |D|^{−t},   γ = (1 − t) α/ζ* − κ ζ/ζ*,

with S as in macro_series.py and b = t/2.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import mlir

from .. import _ffi, _primitive, backends
from . import macro_series as series

# Squared distances from the centre are clamped to this, so that all is finite there; arcsec².
_SMALLEST = {"float64": 1e-24, "float32": 1e-16}


def deflection(grid, centre, ell, strength, slope, *, isothermal=False, backend=None):
    """Deflection of an elliptical power law, differentiable in all its arguments.

    Parameters
    ----------
    grid : (n, 2) array
        (y, x) in arcsec.
    centre : (2,) array
        (y, x) in arcsec.
    ell : (2,) array
        f (sin 2φ, cos 2φ), of length at most `macro_series.LARGEST`.
    strength : scalar array
        B in arcsec^t.
    slope : scalar array
        t, in (0, 2).
    isothermal : bool
        True where t is 1: the closed form may be used, and there is no derivative by t.
    backend : {None, "reference", "cpp"}

    Returns
    -------
    (n, 2) array
        α (y, x) in arcsec.
    """
    return _deflection((isothermal, backend), grid, centre, ell, strength, slope)


def convergence(grid, centre, ell, strength, slope):
    """Convergence of an elliptical power law.

    Parameters
    ----------
    grid, centre, ell, strength, slope
        As for `deflection`.

    Returns
    -------
    (n,) array
    """
    _, _, v, _ = _complex(grid, centre, ell)
    return (1 - slope / 2) * strength * v ** (-slope / 2)


def shear(grid, centre, slope, values, kappa):
    """Shear of an elliptical power law out of its deflection and convergence.

    Parameters
    ----------
    grid, centre, slope
        As for `deflection`.
    values : (n, 2) array
        The deflection.
    kappa : (n,) array
        The convergence.

    Returns
    -------
    (n,) complex array
        γ₁ + i γ₂; 0 at the centre.
    """
    z = _as_complex(grid - centre)
    return ((1 - slope) * _as_complex(values) - kappa * z) * z / jnp.maximum(_square(z), _smallest(z.real))


def _as_complex(yx):
    return jax.lax.complex(yx[..., 1], yx[..., 0])


def _as_real(z):
    return jnp.stack([z.imag, z.real], -1)


def _square(z):
    return z.real**2 + z.imag**2


def _smallest(array):
    return _SMALLEST[array.dtype.name]


def _complex(grid, centre, ell):
    """ζ, D, |D|² clamped, and w."""
    z, e = _as_complex(grid - centre), _as_complex(ell)
    D = z - e * z.conj()
    v = jnp.maximum(_square(D), _smallest(D.real))
    return z, D, v, -e.conj() * (D * D / v)


def _reference(isothermal, grid, parameters):
    centre, ell, (strength, slope) = parameters[:2], parameters[2:4], parameters[4:]
    _, D, v, w = _complex(grid, centre, ell)
    e = _as_complex(ell)
    f = jnp.sqrt(_square(e))
    if not isothermal:
        return (_as_real(strength * v ** (-slope / 2) * D * series.angular(w, slope / 2, f)),)
    # For t = 1, S = artanh(√w)/√w. With √w = i√ε* D/|D| no ray needs a root: α = B D/|D| S = −i√ε B artanh(√w)/f.
    unit = D / jnp.sqrt(v)
    round_ = f < jnp.finfo(f.dtype).tiny
    root = jnp.sqrt(jnp.where(round_, 1, e))
    S = -1j * root / jnp.where(round_, 1, f) * series.artanh(1j * root.conj() * unit)
    return (_as_real(strength * jnp.where(round_, unit, S)),)


def _partials_lane(isothermal, w, parameters):
    b, f = parameters
    parts = series.isothermal_partials(w) if isothermal else series.partials(w, b, f)
    return tuple(parts)


def _choose(target, lane, ndims, platform, *avals, isothermal, backend):
    if backend not in (None, "reference", "cpp"):
        raise NotImplementedError(f"backend {backend!r} has no kernel for an elliptical power law; use backend=None")
    if backend == "cpp" and platform != "cpu":
        raise NotImplementedError("backend 'cpp' runs on the CPU only; use backend=None on this device")
    if backend == "cpp" or (backend is None and platform == "cpu" and backends.availability("cpp").available):
        _ffi.register_cpp()
        return jax.ffi.ffi_lowering(target)
    return mlir.lower_fun(_primitive.on_lanes(partial(lane, isothermal), ndims, sequential=platform == "cpu"))


# Rays (n, 2) and (y_c, x_c, ε_y, ε_x, B, t) to the deflection (n, 2).
power_law_p = _primitive.batched_primitive(
    "lenskern_macro_power_law",
    (2, 1),
    lambda grid, parameters, **params: [(grid.shape, grid.dtype)],
    partial(_choose, "lenskern_macro_power_law", _reference, (2, 1)),
)

# w (n,) and (b, upper bound of |w|) to S, ∂S/∂w and ∂S/∂b, each (n,).
partials_p = _primitive.batched_primitive(
    "lenskern_macro_partials",
    (1, 1),
    lambda w, parameters, **params: [(w.shape, w.dtype)] * 3,
    partial(_choose, "lenskern_macro_partials", _partials_lane, (1, 1)),
)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _deflection(static, grid, centre, ell, strength, slope):
    isothermal, backend = static
    parameters = jnp.stack([*centre, *ell, strength, slope])
    return power_law_p.bind(grid, parameters, isothermal=isothermal, backend=backend)[0]


@partial(_deflection.defjvp, symbolic_zeros=True)
def _deflection_jvp(static, primals, tangents):
    # dα = κ dζ + γ dζ* + (α/B) dB + (∂α/∂ε) dε + (∂α/∂ε*) dε* + (∂α/∂t) dt, where with G = B |D|^{−t}
    #     ∂α/∂ε  = −ζ* G [(1 − b) S + w ∂S/∂w]
    #     ∂α/∂ε* = (D/D*) G {ζ [b S + w ∂S/∂w] − D ∂S/∂w}
    #     ∂α/∂t  = G D (∂S/∂b)/2 − α ln|D|
    grid, centre, ell, strength, slope = primals
    dgrid, dcentre, dell, dstrength, dslope = (None if isinstance(x, SymbolicZero) else x for x in tangents)
    unit = _deflection(static, grid, centre, ell, jnp.ones_like(strength), slope)
    values = strength * unit
    change = jnp.zeros_like(values)
    if dstrength is not None:
        change += unit * dstrength
    if dgrid is not None or dcentre is not None:
        kappa = convergence(grid, centre, ell, strength, slope)
        gamma = shear(grid, centre, slope, values, kappa)
        dz = jnp.zeros_like(grid)
        dz = dz if dgrid is None else dz + dgrid
        dz = _as_complex(dz if dcentre is None else dz - dcentre)
        change += _as_real(kappa * dz + gamma * dz.conj())
    if dell is not None or (dslope is not None and not static[0]):
        z, D, v, w = _complex(grid, centre, ell)
        b, e = slope / 2, _as_complex(ell)
        f = jax.lax.stop_gradient(jnp.sqrt(_square(e)))
        S, by_w, by_b = _partials(static, w, b, f)
        G = strength * v**-b
        if dell is not None:
            de, T = _as_complex(dell), w * by_w
            first = -z.conj() * ((1 - b) * S + T)
            second = D * D / v * (z * (b * S + T) - D * by_w)
            change += _as_real(G * (first * de + second * de.conj()))
        if dslope is not None and not static[0]:
            change += _as_real(G * D * by_b * (dslope / 2)) - values * (jnp.log(v) * (dslope / 2))[:, None]
    return values, change


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _partials(static, w, b, f):
    isothermal, backend = static
    return tuple(partials_p.bind(w, jnp.stack([b, f]), isothermal=isothermal, backend=backend))


@_partials.defjvp
def _partials_jvp(static, primals, tangents):
    # All three are analytic in w and in b: a forward derivative in each direction gives every other.
    w, b, f = primals
    dw, db, _ = tangents
    by_w = jax.jvp(lambda w: series.partials(w, b, f), (w,), (jnp.ones_like(w),))[1]
    by_b = jax.jvp(lambda b: series.partials(w, b, f), (b,), (jnp.ones_like(b),))[1]
    return _partials(static, *primals), tuple(x * dw + y * db for x, y in zip(by_w, by_b, strict=True))
