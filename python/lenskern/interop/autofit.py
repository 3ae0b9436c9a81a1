"""PyAutoFit searches whose likelihood and visualization share one compiled function.

`lenskern.interop.autoarray.register` makes every search do it; `shared_fit` is that function for one analysis.
"""

import copy
import logging
import threading
import time
import weakref

import numpy as np

from . import _searches
from ._graph import Graph

__all__ = ["SharedFit", "compilation_cache", "patches", "shared_fit"]

_log = logging.getLogger(__name__)

# Derived arrays beyond this are not brought back with a fit: mapping matrices. NumPy makes them again if one asks.
LARGEST = 2**24

# What the visualizers of PyAutoGalaxy and PyAutoLens draw, evaluated inside the compiled function.
_DRAWN = (
    "model_data",
    "residual_map",
    "normalized_residual_map",
    "chi_squared_map",
    "galaxy_model_image_dict",
    "model_images_of_planes_list",
    "subtracted_images_of_planes_list",
)

# Those of an analysis, the latest last; an analysis that goes takes them along.
_SHARED = weakref.WeakKeyDictionary()


def shared_fit(analysis, model):
    """The compiled function that the likelihood and the visualization of an analysis share.

    It is compiled once for an analysis and a model, whatever the parameters: ``jax.jit(analysis.fit_from)`` compiles
    for each new instance of a model with a multi-Gaussian `Basis`, whose parameters are in the static part of its
    pytree.

    Parameters
    ----------
    analysis : autofit.Analysis
        With ``fit_from(instance)``, on JAX: `AnalysisImaging` and `AnalysisInterferometer` of autogalaxy and autolens.
    model : autofit.AbstractPriorModel
        Whose instances are fitted.

    Returns
    -------
    SharedFit
        The same for the same analysis and model; nothing is compiled yet.

    Raises
    ------
    TypeError
        For an analysis without ``fit_from`` or one that is not on JAX.
    """
    if not hasattr(type(analysis), "fit_from"):
        raise TypeError(f"analysis: expected one with fit_from, got {type(analysis).__name__}")
    if not getattr(analysis, "is_jax", False):
        raise TypeError(f"analysis: expected one with use_jax=True, got a {type(analysis).__name__} without")
    found = _SHARED.setdefault(analysis, [])
    for shared in found:
        if shared.model is model:
            return shared
    found.append(SharedFit(analysis, model))
    return found[-1]


class SharedFit:
    """One compiled function of the free numbers of a model's instances: log likelihood and fit; see `shared_fit`.

    Attributes
    ----------
    model : autofit.AbstractPriorModel
    seconds : dict of str to float
        What tracing and compiling took, once they are done.
    """

    def __init__(self, analysis, model):
        # the registry holds this object as long as the analysis lives, and must not keep it alive
        self._analysis = weakref.ref(analysis)
        self.model = model
        self.seconds = {}
        self._lock = threading.Lock()
        self._started = self._numbers = self._instance = self._fit = None
        self._program = self._error = None

    def start(self, background=True):
        """Trace now, and compile in a thread of its own; once is enough.

        Parameters
        ----------
        background : bool
            False waits until it is compiled.

        Returns
        -------
        SharedFit
            Itself.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._started is None:
                begin = time.perf_counter()
                try:
                    lowered = self._lower()
                except Exception as error:  # the next one who asks need not trace again
                    self._error = error
                    raise
                self.seconds["trace"] = time.perf_counter() - begin
                _log.info("Compiling the fit that likelihood and visualization share (once per process)...")
                self._started = threading.Thread(target=self._compile, args=(lowered,), daemon=True)
                self._started.start()
        if not background:
            self._wait()
        return self

    def log_likelihood(self, parameters):
        """Log likelihood of a vector of parameters.

        Parameters
        ----------
        parameters : array (N,)
            In the order of the model's priors.

        Returns
        -------
        jax.Array ()
        """
        program = self._wait()
        return program(self._numbers(np.asarray(parameters, float)))[0]

    def fit(self, instance):
        """The fit of an instance of the model, as ``analysis.fit_from(instance)`` gives it, on NumPy.

        What the visualizers draw is in it already; what else one asks of it, NumPy computes.

        Parameters
        ----------
        instance : autofit.ModelInstance

        Returns
        -------
        FitImaging or FitInterferometer

        Raises
        ------
        ValueError
            If the instance is not one of the model.
        """
        import jax

        program = self._wait()
        numbers = self._instance.values(instance, lambda value: np.asarray(value, float))
        shapes = [leaf.shape for leaf in self._instance.leaves]
        if [number.shape for number in numbers] != shapes:
            raise ValueError(f"instance: expected numbers of shapes {shapes}, got {[n.shape for n in numbers]}")
        _, leaves = program(np.concatenate([number.ravel() for number in numbers]))
        # scalars as floats and arrays that can be written to, as NumPy's own fits have them
        return self._fit.rebuild([leaf.item() if leaf.ndim == 0 else np.array(leaf) for leaf in jax.device_get(leaves)])

    def _wait(self):
        self.start()
        if self._started.is_alive():
            _log.info("Waiting for the shared fit to be compiled...")
        self._started.join()
        if self._error is not None:
            raise self._error
        return self._program

    def _lower(self):
        import jax
        import jax.numpy as jnp

        size = self.model.total_free_parameters
        vector = jax.ShapeDtypeStruct((size,), float)

        def numbers_of(vector):
            instance = self.model.instance_from_vector(vector=vector, ignore_assertions=True, xp=jnp)
            self._instance = Graph(instance, _is_array)
            return jnp.concatenate([jnp.ravel(leaf) for leaf in self._instance.leaves])

        self._numbers = jax.jit(numbers_of)
        spec = jax.eval_shape(self._numbers, vector)
        self._numbers = self._numbers.lower(vector).compile()
        lowered = jax.jit(self._evaluate).lower(spec)
        return lowered

    def _compile(self, lowered):
        begin = time.perf_counter()
        try:
            self._program = lowered.compile()
        except Exception as error:  # raised by who waits for it
            self._error = error
            return
        self.seconds["compile"] = time.perf_counter() - begin
        _log.info("Shared fit compiled in %.1f s.", self.seconds["compile"])

    def _evaluate(self, numbers):
        """Log likelihood and every array that the fit holds; how they are held goes to ``self._fit``."""
        import jax.numpy as jnp

        leaves, start = [], 0
        for leaf in self._instance.leaves:
            leaves.append(jnp.reshape(numbers[start : start + leaf.size], leaf.shape))
            start += leaf.size
        instance = self._instance.rebuild(leaves)
        # a copy of the analysis, so that the fit of the likelihood can be caught without others seeing it
        analysis, fits = copy.copy(self._analysis()), []

        def fit_from(*args, **kwargs):
            fits.append(type(analysis).fit_from(analysis, *args, **kwargs))
            return fits[-1]

        analysis.fit_from = fit_from
        log_likelihood = analysis.log_likelihood_function(instance=instance)
        fit = fits[-1] if fits else fit_from(instance=instance)
        _draw(fit)
        self._fit = Graph(fit, _is_array, skip=_is_large, replace=_to_numpy, shared=(analysis.dataset,))
        return log_likelihood, self._fit.leaves


def _is_array(node):
    import jax

    return isinstance(node, jax.Array)


def _draw(fit):
    """Evaluate what visualizers draw, so that it is kept with the fit."""
    for name in _DRAWN:
        if hasattr(type(fit), name):
            getattr(fit, name)
    if getattr(fit, "inversion", None) is not None:
        _ = fit.inversion.reconstruction


def _is_large(owner, name):
    from autonerves.tools.decorators import cached_property_names

    return name in cached_property_names(type(owner)) and _bytes(vars(owner)[name]) > LARGEST


def _bytes(value):
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    value = getattr(value, "_array", value)
    return value.size * value.dtype.itemsize if _is_array(value) else 0


def _to_numpy(name, value):
    import jax.numpy as jnp

    if value is jnp:
        return np
    return False if name in ("use_jax", "_use_jax") and value is True else value


def patches():
    """What `lenskern.interop.autoarray.register` replaces in PyAutoFit, so that its searches use `shared_fit`.

    - A search begins to compile the shared fit of its analysis and model when it sets itself up, in the background,
      where it would otherwise evaluate one fit operation by operation.
    - Quick updates and all other visualization take their fit from it: nothing is compiled any more.
    - A search that evaluates one model at a time takes its likelihood from it too. One that evaluates batches, or
      gradients, compiles these on its own.

    An analysis whose fits cannot be shared is visualized as before, with a warning.

    Returns
    -------
    list of (owner, name, value)
        Attributes to rebind.

    Raises
    ------
    ImportError
        Where autofit is not installed.
    RuntimeError
        For an autofit whose methods are not those that are replaced; it names the versions known to work.
    """
    return _searches.patches(shared_fit, lambda analysis: _SHARED.get(analysis, []))


def compilation_cache(directory=None):
    """Keep what JAX compiles on disk, so that the next process that needs it reads it.

    PyAutoFit switches it on where ``autofit`` is imported before JAX, for programs that take more than a second to
    compile; this does for all, at any time before the first compilation. XLA programs that call back into Python, as
    those of Delaunay meshes, are never kept by JAX.

    Parameters
    ----------
    directory : path, optional
        By default the one that is set (``JAX_COMPILATION_CACHE_DIR``), or else ``~/.cache/lenskern``.

    Returns
    -------
    pathlib.Path
        The directory.
    """
    import os
    from pathlib import Path

    import jax

    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    chosen = Path(directory or jax.config.jax_compilation_cache_dir or Path(root) / "lenskern")
    chosen.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return chosen
