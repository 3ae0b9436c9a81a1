"""The static options of a solve, checked once."""

from dataclasses import dataclass

from .. import _checks, backends


@dataclass(frozen=True)
class Options:
    """Options of a solve; hashable, so that a call is compiled once for each set of them.

    Attributes
    ----------
    method : str
        "crossover", "pdip", "admm", "fista" or "bpp".
    tol : float or None
        Largest KKT residual that is certified (dimensionless, see `Solution.residual`); None takes one that suits the
        method and the data type, see `tolerance`.
    max_iter : int
        Cap on the iterations.
    backend : str or None
        One of `lenskern.backends.NAMES`, or None for the fastest that is available where the call is compiled.
    gradient : str
        "exact" or "relaxed".

    Raises
    ------
    ValueError
        Naming the option, what it got, and what it expected.
    NotImplementedError
        For a backend that does not have the method.
    RuntimeError
        For a backend that is not available, with the reason.
    """

    method: str = "crossover"
    tol: float | None = None
    max_iter: int = 50
    backend: str | None = None
    gradient: str = "exact"

    def __post_init__(self):
        _checks.choice("method", self.method, ("crossover", "pdip", "admm", "fista", "bpp"))
        _checks.choice("backend", self.backend, (None, *backends.NAMES))
        _checks.choice("gradient", self.gradient, ("exact", "relaxed"))
        object.__setattr__(self, "max_iter", _checks.positive_int("max_iter", self.max_iter))
        if self.tol is not None:
            object.__setattr__(self, "tol", _checks.positive_float("tol", self.tol))
        if self.backend is not None:
            backends.require(self.backend)
            if self.method != "crossover" and self.backend != "reference":
                raise NotImplementedError(
                    f"backend {self.backend!r} has no method {self.method!r}; use backend='reference' or None"
                )

    def tolerance(self, dtype) -> float:
        """The tolerance for data of a dtype: `tol`, or a default.

        1e-12 for float64 and 1e-6 for float32 data; for the first-order methods "admm" and "fista" 1e-6 and 1e-4.
        """
        if self.tol is not None:
            return self.tol
        if self.method in ("admm", "fista"):
            return 1e-6 if dtype == "float64" else 1e-4
        return 1e-12 if dtype == "float64" else 1e-6
