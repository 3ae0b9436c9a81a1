"""Profiles that autogalaxy evaluates itself, as components of a lens or a source of lenskern."""

import copy
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["AutogalaxyLight", "AutogalaxyMass"]


class _Evaluated:
    """A profile of autogalaxy under jit and vmap.

    Its evaluation is the first of these that the profile can do:

    - ``"traced"``: by JAX, with its floating-point parameters traced, so that other ones do not compile again;
    - ``"static"``: by JAX, for fixed parameters;
    - ``"numpy"``: by NumPy in a host callback, for fixed parameters and without derivatives.

    A pytree of its floating-point parameters where they are traced. An attribute that the profile derives from another
    one when it is made is a leaf of its own.
    """

    _method, _vector = None, False

    def __init__(self, profile, by_numpy=False):
        self.profile = profile
        self.evaluation, self._names = "traced", _float_names(profile)
        self._find_evaluation(by_numpy)

    def tree_flatten(self):
        # The rest must not keep what may be traced.
        rest = copy.copy(self.profile)
        vars(rest).update(dict.fromkeys(self._names))
        return [vars(self.profile)[name] for name in self._names], _Static(self.evaluation, rest, self._names)

    @classmethod
    def tree_unflatten(cls, static, leaves):
        made = object.__new__(cls)
        made.evaluation, made._names = static.evaluation, static.names
        made.profile = copy.copy(static.profile)
        vars(made.profile).update(zip(static.names, leaves, strict=True))
        return made

    def _find_evaluation(self, by_numpy):
        shape = (2, 2) if self._vector else (2,)
        grid = jax.ShapeDtypeStruct((2, 2), jnp.result_type(float))
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(vars(self.profile)))
        choices = [] if by_numpy else [("traced", self._names)] + [("static", ())] * (not traced)
        for evaluation, names in choices:
            self.evaluation, self._names = evaluation, names
            try:
                found = jax.eval_shape(lambda this, grid: this._values(this.profile, grid, jnp), self, grid)
            except Exception:  # whatever keeps a profile from being traced
                continue
            if found.shape == shape and found.dtype == grid.dtype:
                return
        if traced:
            raise NotImplementedError(
                f"galaxies: got the profile {type(self.profile).__name__} with traced parameters, which autogalaxy "
                "cannot evaluate by JAX, or was not to; expected numbers"
            )
        self.evaluation, self._names = "numpy", ()

    def _values(self, profile, grid, xp):
        from autoarray import Grid2DIrregular

        values = getattr(profile, self._method)(grid=Grid2DIrregular(values=grid, xp=xp), xp=xp)
        return getattr(values, "array", values)

    def _evaluate(self, grid):
        """At a grid (..., 2)."""
        flat = grid.reshape(-1, 2)
        shape = grid.shape if self._vector else grid.shape[:-1]
        if self.evaluation != "numpy":
            return jnp.asarray(self._values(self.profile, flat, jnp), grid.dtype).reshape(shape)
        return _by_numpy(self, flat).reshape(shape)


@jax.tree_util.register_pytree_node_class
class AutogalaxyMass(_Evaluated):
    """A mass profile that autogalaxy evaluates, as a macro model of `lenskern.deflect.planes`.

    Parameters
    ----------
    profile : autogalaxy.MassProfile
    by_numpy : bool
        Whether it is evaluated by NumPy though JAX could.

    Attributes
    ----------
    evaluation : {"traced", "static", "numpy"}
        By JAX with traced parameters, by JAX for fixed ones, or by NumPy in a host callback, for fixed parameters and
        without derivatives: the first that the profile can do.

    Raises
    ------
    NotImplementedError
        For traced parameters of a profile that is evaluated by NumPy.
    """

    _method, _vector = "deflections_yx_2d_from", True

    def deflection(self, grid):
        """Deflection (y, x) in arcsec at positions (..., 2)."""
        return self._evaluate(jnp.asarray(grid))

    def jacobian(self, grid):
        """∂α_i/∂θ_j in (y, x) order at positions (..., 2)."""
        grid = jnp.asarray(grid)
        # A ray is bent by where it is alone, so that one tangent serves all rays.
        units = [jnp.zeros_like(grid).at[..., j].set(1) for j in (0, 1)]
        return jnp.stack([jax.jvp(self.deflection, (grid,), (unit,))[1] for unit in units], -1)


@jax.tree_util.register_pytree_node_class
class AutogalaxyLight(_Evaluated):
    """A light profile that autogalaxy evaluates, as one of `lenskern.simulate`.

    Parameters
    ----------
    profile : autogalaxy.LightProfile
    by_numpy : bool
        As for `AutogalaxyMass`.

    Attributes
    ----------
    evaluation : {"traced", "static", "numpy"}
        As for `AutogalaxyMass`.

    Raises
    ------
    NotImplementedError
        As `AutogalaxyMass`.
    """

    _method = "image_2d_from"

    def brightness(self, grid):
        """Surface brightness at positions (..., 2)."""
        return self._evaluate(jnp.asarray(grid))


class _Static:
    """What is no leaf, compared by what it is, or by identity where that has no answer."""

    def __init__(self, evaluation, profile, names):
        self.evaluation, self.profile, self.names = evaluation, profile, names

    def __eq__(self, other):
        if not isinstance(other, _Static) or (self.evaluation, self.names) != (other.evaluation, other.names):
            return False
        ours, theirs = vars(self.profile), vars(other.profile)
        return (
            type(self.profile) is type(other.profile)
            and ours.keys() == theirs.keys()
            and all(_same(ours[name], theirs[name]) for name in ours.keys() - set(self.names))
        )

    def __hash__(self):
        return hash((self.evaluation, type(self.profile), self.names))


def _same(a, b):
    if a is b:
        return True
    plain = (bool, int, float, str, type(None), np.number)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and isinstance(a, plain) and a == b


def _float_names(profile):
    return tuple(sorted(name for name, value in vars(profile).items() if _is_float(value)))


def _is_float(value):
    """Whether a value is a floating-point number, or a tuple of them."""
    if isinstance(value, tuple):
        return len(value) > 0 and all(map(_is_float, value))
    if isinstance(value, jax.Array):
        return jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, float | np.floating)


def _by_numpy(evaluated, flat):
    """Values at a flat grid by NumPy, one callback for all lanes of a batch."""
    shape = flat.shape if evaluated._vector else flat.shape[:-1]

    def call(grid):
        grid = np.asarray(grid)
        values = evaluated._values(evaluated.profile, grid.reshape(-1, 2), np)
        return np.asarray(values, grid.dtype).reshape(grid.shape if evaluated._vector else grid.shape[:-1])

    @jax.custom_jvp
    def values(grid):
        return jax.pure_callback(call, jax.ShapeDtypeStruct(shape, flat.dtype), grid, vmap_method="expand_dims")

    values.defjvp(partial(_no_derivative, type(evaluated.profile).__name__))
    return values(flat)


def _no_derivative(name, primals, tangents):
    raise NotImplementedError(f"{name}: autogalaxy evaluates it by NumPy, which has no derivatives")
