"""What of PyAutoFit is replaced, so that searches use the fit that `shared_fit` compiles."""

import functools
import inspect
import logging
from importlib import metadata

_log = logging.getLogger(__name__)

KNOWN_VERSIONS = ("2026.10.26.1",)
"""The versions of autofit that this was tested with."""


def patches(shared_fit, of_analysis):
    """Methods to replace, after a look at whether they are those that are known.

    Parameters
    ----------
    shared_fit : callable
        `lenskern.interop.autofit.shared_fit`.
    of_analysis : callable
        From an analysis to its shared fits, the latest last.

    Returns
    -------
    list of (owner, name, value)

    Raises
    ------
    ImportError
        Where autofit is not installed.
    RuntimeError
        For an autofit whose methods are others; it names the versions known to work.
    """
    from autofit.non_linear.analysis.analysis import Analysis
    from autofit.non_linear.fitness import Fitness

    found = [
        (Fitness, "_warmup_visualization", _warmup(shared_fit)),
        (Fitness, "objective", _objective(shared_fit)),
        (Analysis, "fit_for_visualization", _fit_for_visualization(of_analysis)),
    ]
    for place, (owner, name, make) in enumerate(found):
        theirs = owner.__dict__.get(name)
        if theirs is None:
            raise _mismatch(f"{owner.__name__} has no {name}")
        ours = make(theirs)
        if _parameters(theirs) != _parameters(ours):
            raise _mismatch(f"{name}{inspect.signature(theirs)} is not {name}{inspect.signature(ours)}")
        found[place] = (owner, name, functools.wraps(theirs)(ours))
    return found


def _parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def _mismatch(what):
    return RuntimeError(
        f"autofit {metadata.version('autofit')} is not one whose searches lenskern can share a compiled fit with: "
        f"{what}. Known to work: autofit {', '.join(KNOWN_VERSIONS)}."
    )


def _parts(analysis, model):
    """An analysis and its model, or those of each factor of a factor graph."""
    factors = getattr(analysis, "model_factors", None)
    if factors is None:
        return [(analysis, model)]
    return [(getattr(factor, "analysis", factor), factor.prior_model) for factor in factors]


def _warmup(shared_fit):
    def make(theirs):
        def _warmup_visualization(self):
            try:
                for analysis, model in _parts(self.analysis, self.model):
                    shared_fit(analysis, model).start()
            except Exception as error:  # a convenience must not end a search, as upstream's does not
                _log.warning("Visualization is not shared with the search, and is compiled on its own: %r", error)
                theirs(self)

        return _warmup_visualization

    return make


def _objective(shared_fit):
    def make(theirs):
        def objective(self, kind="scalar", compile=None):
            compiled = self.compile if compile is None else compile
            if kind != "scalar" or not compiled or not self._is_jax:
                return theirs(self, kind, compile)
            objectives = self.__dict__.setdefault("_objectives", {})
            if kind not in objectives:
                own = theirs(self, kind, compile)  # compiles nothing until it is called
                try:
                    shared = shared_fit(self.analysis, self.model)
                except TypeError:
                    return own
                objectives[kind] = _figure_of_merit(self, shared, own)
            return objectives[kind]

        return objective

    return make


def _figure_of_merit(fitness, shared, own):
    """The scalar objective of a fitness: the shared log likelihood, and what `Fitness.call` makes of it.

    Where the shared fit cannot be traced, it is the fitness's own.
    """
    import jax

    @jax.jit
    def finish(parameters, log_likelihood):
        # without `copy`, which would go through the pickling of Fitness
        last = object.__new__(type(fitness))
        last.__dict__.update(fitness.__dict__)
        last.analysis = _Known(log_likelihood)
        return last.call(parameters)

    failed = []

    def objective(parameters):
        if isinstance(parameters, jax.core.Tracer):
            return fitness.call(parameters)
        if not failed:
            try:
                return finish(parameters, shared.log_likelihood(parameters))
            except Exception as error:
                _log.warning("The likelihood is compiled on its own, not with the visualization: %r", error)
                failed.append(error)
        return own(parameters)

    return objective


class _Known:
    """An analysis whose log likelihood is known."""

    is_jax = True

    def __init__(self, log_likelihood):
        self._log_likelihood = log_likelihood

    @property
    def _xp(self):
        import jax.numpy as jnp

        return jnp

    def log_likelihood_function(self, instance):
        return self._log_likelihood


def _fit_for_visualization(of_analysis):
    def make(theirs):
        def fit_for_visualization(self, instance):
            for shared in reversed(of_analysis(self)):
                try:
                    return shared.fit(instance)
                except Exception as error:
                    _log.warning("The shared fit does not take this instance, and autofit's own way is gone: %r", error)
            return theirs(self, instance)

        return fit_for_visualization

    return make
