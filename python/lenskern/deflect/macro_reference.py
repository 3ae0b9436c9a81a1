"""The elliptical power law in plain jnp: what the kernel is tested against.

With positions as complex numbers ζ = (x − x_c) + i (y − y_c) and ε = f e^{2iφ}, f = (1 − q)/(1 + q), Tessore & Metcalf
(2015) need no rotation: D = ζ − ε ζ*, w = −ε* D/D*, and

    α = B |D|^{−t} D S(w),   κ = (1 − t/2) B |D|^{−t},   γ = (1 − t) α/ζ* − κ ζ/ζ*,

with S as in macro_series.py and b = t/2.
"""

import jax
import jax.numpy as jnp

from . import macro_series as series

# Squared distances from the centre are clamped to this, so that all is finite there; arcsec².
_SMALLEST = {"float64": 1e-24, "float32": 1e-16}


def deflection(grid, parameters, isothermal):
    """Deflection of rays.

    Parameters
    ----------
    grid : (n, 2) array
        (y, x) in arcsec.
    parameters : (6,) array
        Centre (y, x) in arcsec, f (sin 2φ, cos 2φ), B in arcsec^t, t in (0, 2).
    isothermal : bool
        True where t is 1: the closed form is used.

    Returns
    -------
    (n, 2) array
        α (y, x) in arcsec.
    """
    _, D, v, w = _complex(grid, parameters)
    e, strength, slope = _as_complex(parameters[2:4]), parameters[4], parameters[5]
    f = jnp.sqrt(_square(e))
    if not isothermal:
        return _as_real(strength * v ** (-slope / 2) * D * series.angular(w, slope / 2, f))
    # For t = 1, S = artanh(√w)/√w. With √w = i√ε* D/|D| no ray needs a root: α = B D/|D| S = −i√ε B artanh(√w)/f.
    unit = D / jnp.sqrt(v)
    round_ = f < jnp.finfo(f.dtype).tiny
    root = jnp.sqrt(jnp.where(round_, 1, e))
    S = -1j * root / jnp.where(round_, 1, f) * series.artanh(1j * root.conj() * unit)
    return _as_real(strength * jnp.where(round_, unit, S))


def convergence(grid, parameters):
    """Convergence at rays.

    Parameters
    ----------
    grid, parameters
        As for `deflection`.

    Returns
    -------
    (n,) array
    """
    _, _, v, _ = _complex(grid, parameters)
    return (1 - parameters[5] / 2) * parameters[4] * v ** (-parameters[5] / 2)


def shear(grid, parameters, values, kappa):
    """Shear out of the deflection and the convergence.

    Parameters
    ----------
    grid, parameters
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
    z = _as_complex(grid - parameters[:2])
    return ((1 - parameters[5]) * _as_complex(values) - kappa * z) * z / jnp.maximum(_square(z), _smallest(z.real))


def tangent(grid, parameters, dgrid, dparameters, isothermal):
    """Tangent of the deflection.

    Parameters
    ----------
    grid, parameters, isothermal
        As for `deflection`; t is constant for an isothermal.
    dgrid, dparameters : arrays
        Tangents, of the shapes of grid and parameters.

    Returns
    -------
    (n, 2) array
    """
    # dα = κ dζ + γ dζ* + (α/B) dB + (∂α/∂ε) dε + (∂α/∂ε*) dε* + (∂α/∂t) dt, where with G = B |D|^{−t}
    #     ∂α/∂ε  = −ζ* G [(1 − b) S + w ∂S/∂w]
    #     ∂α/∂ε* = (D/D*) G {ζ [b S + w ∂S/∂w] − D ∂S/∂w}
    #     ∂α/∂t  = G D (∂S/∂b)/2 − α ln|D|
    z, D, v, w = _complex(grid, parameters)
    strength, slope = parameters[4:]
    b, f = slope / 2, jnp.sqrt(_square(_as_complex(parameters[2:4])))
    S, by_w, by_b = series.partials(isothermal, w, b, f)
    unit, T = v**-b, w * by_w
    G, alpha = strength * unit, strength * unit * D * S
    kappa = (1 - b) * G
    gamma = shear(grid, parameters, _as_real(alpha), kappa)
    dz, de = _as_complex(dgrid - dparameters[:2]), _as_complex(dparameters[2:4])
    by_e = -z.conj() * ((1 - b) * S + T)
    by_conjugate = D * D / v * (z * (b * S + T) - D * by_w)
    change = kappa * dz + gamma * dz.conj() + unit * D * S * dparameters[4]
    change += G * (by_e * de + by_conjugate * de.conj())
    if not isothermal:
        change += (G * D * by_b - alpha * jnp.log(v)) * (dparameters[5] / 2)
    return _as_real(change)


def adjoint(grid, parameters, cotangent, isothermal):
    """Transpose of `tangent`.

    Parameters
    ----------
    grid, parameters, isothermal
        As for `tangent`.
    cotangent : (n, 2) array
        Of the deflection.

    Returns
    -------
    dgrid, dparameters : arrays
        Of the shapes of grid and parameters.
    """

    def forward(dgrid, dparameters):
        return tangent(grid, parameters, dgrid, dparameters, isothermal)

    return jax.linear_transpose(forward, grid, parameters)(cotangent)


def _as_complex(yx):
    return jax.lax.complex(yx[..., 1], yx[..., 0])


def _as_real(z):
    return jnp.stack([z.imag, z.real], -1)


def _square(z):
    return z.real**2 + z.imag**2


def _smallest(array):
    return _SMALLEST[array.dtype.name]


def _complex(grid, parameters):
    """ζ, D, |D|² clamped, and w."""
    z, e = _as_complex(grid - parameters[:2]), _as_complex(parameters[2:4])
    D = z - e * z.conj()
    v = jnp.maximum(_square(D), _smallest(D.real))
    return z, D, v, -e.conj() * (D * D / v)
