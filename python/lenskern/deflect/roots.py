"""Roots of increasing functions, elementwise and differentiable."""

import jax
import jax.numpy as jnp


def increasing_root(function, low, high):
    """x with function(x) = 0 for each element, by bisection and then Newton's method inside the bracket.

    Derivatives of any order follow from the implicit function theorem.

    Parameters
    ----------
    function : callable
        Elementwise and increasing; it may close over traced arrays.
    low, high : arrays
        Bracket, of the shape of the result.

    Returns
    -------
    array
        NaN where the function is NaN or has no root in the bracket.
    """

    def solve(function, start):
        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            below = function(middle) < 0
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        def newton(_, x):
            value, slope = jax.jvp(function, (x,), (jnp.ones_like(x),))
            return jnp.clip(x - value / slope, first, last)

        inside = (function(low) <= 0) & (function(high) >= 0)
        first, last = jax.lax.fori_loop(0, 8, halve, (low, high))
        x = jax.lax.fori_loop(0, 4, newton, (first + last) / 2)
        return jnp.where(inside & ~jnp.isnan(function(x)), x, jnp.nan)

    def tangent_solve(tangent, y):
        return y / tangent(jnp.ones_like(y))

    return jax.lax.custom_root(function, (low + high) / 2, solve, tangent_solve)
