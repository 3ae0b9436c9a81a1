"""Non-negative least squares of up to 128 variables: one Pallas program solves one lane."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lenskern.nnls.solution import Status

try:
    from jax.experimental import pallas
    from jax.experimental.pallas import triton
except ImportError as error:  # deprecated in JAX, and missing from some builds of jaxlib
    MISSING = f"jax {jax.__version__} has no Pallas-Triton: {error}"
else:
    MISSING = None

LARGEST = 128
RUNNING = -1  # the status of a lane that has none yet


class Problem(NamedTuple):
    """The scaled problem of one lane: minimise y'Sy / 2 - h'y over y >= 0, where S has unit diagonal and max |h| = 1.

    Vectors are padded to a power of two with zeros, S with zeros; ``inside`` is true on the real entries.
    """

    S: jax.Array
    h: jax.Array
    index: jax.Array
    inside: jax.Array
    size: int
    tol: float


class State(NamedTuple):
    """A lane between two iterations."""

    x: jax.Array  # the interior point and its multipliers
    z: jax.Array
    active: jax.Array  # the active set to try next, and whether to try it
    ready: jax.Array
    tried: jax.Array  # the one tried last
    ending: jax.Array  # the status if the next try fails
    y: jax.Array  # the best feasible point so far
    residual: jax.Array
    status: jax.Array
    iterations: jax.Array
    passes: jax.Array


def solve(Q, q, x0, *, tol, max_iter, interpret=False):
    """Minimise x'Qx / 2 - q'x over x >= 0 in every lane.

    The arithmetic is float64, whatever the data and whether or not 64-bit types are enabled.

    Parameters
    ----------
    Q : array, shape (B, K, K) or (1, K, K)
        Symmetric matrices, float32 or float64, of which the lower triangle is used. One alone is shared by all lanes.
    q : array, shape (B, K) or (1, K)
    x0 : array, shape (B, K) or (1, K)
        Positive where a variable is guessed to be positive in the solution; of another size than K there is no guess.
    tol : float
        Largest residual of a certified solution.
    max_iter : int
        Limit of the interior-point iterations.
    interpret : bool
        Run as ordinary JAX operations, on any platform, instead of as a GPU kernel.

    Returns
    -------
    x, z, status, iterations, passes, residual
        As in `lenskern.nnls.Solution`, with a leading axis of B.

    Raises
    ------
    NotImplementedError
        For K > 128, and for 2^31 entries of Q or more.
    RuntimeError
        Where this jax has no Pallas-Triton.
    """
    size = q.shape[-1]
    if size > LARGEST:
        raise NotImplementedError(
            f"backend 'pallas' solves up to {LARGEST} variables, got {size}: use 'reference', or 'cpp' on the CPU"
        )
    if Q.size >= 2**31:
        raise NotImplementedError(
            f"backend 'pallas' indexes Q with 32 bits, got {Q.size} entries: solve the lanes in several calls"
        )
    if MISSING:
        raise RuntimeError(MISSING)
    operands = (Q, q, x0) if x0.shape[-1] == size else (Q, q)
    (lanes,) = jnp.broadcast_shapes(*((a.shape[0],) for a in (Q, q, x0)))
    tile = max(16, pallas.next_power_of_2(size))

    def block(a):
        shared, trailing = a.shape[0] != lanes, (0,) * (len(a.shape) - 1)
        return pallas.BlockSpec((None, *(tile for _ in trailing)), lambda i: (0 if shared else i, *trailing))

    vector, scalar = (jax.ShapeDtypeStruct(shape, q.dtype) for shape in ((lanes, size), (lanes,)))
    integer = jax.ShapeDtypeStruct((lanes,), jnp.int32)
    results = vector, vector, integer, integer, integer, scalar
    if lanes == 0:
        return tuple(jnp.zeros(a.shape, a.dtype) for a in results)
    with jax.enable_x64(True):
        return pallas.pallas_call(
            functools.partial(_lane, size=size, tile=tile, guessed=len(operands) == 3, tol=tol, max_iter=max_iter),
            out_shape=results,
            grid=(lanes,),
            in_specs=[block(a) for a in operands],
            out_specs=[block(a) for a in results],
            # so many warps that a thread holds 32 entries of a matrix, which leaves registers for two of them
            compiler_params=triton.CompilerParams(num_warps=max(1, tile * tile // 1024), num_stages=1),
            interpret=interpret,
            name="lenskern_nnls",
        )(*operands)


def _lane(Q_ref, q_ref, *refs, size, tile, guessed, tol, max_iter):
    """Load one lane, look for faults, scale, solve and store it."""
    *x0_ref, x_ref, z_ref, status_ref, iterations_ref, passes_ref, residual_ref = refs
    dtype = q_ref.dtype
    index = lax.iota(jnp.int32, tile)
    inside = index < size
    rows, columns = (lax.broadcasted_iota(jnp.int32, (tile, tile), axis) for axis in (0, 1))
    # Not rows and columns as such: Triton would turn the transposed one around in shared memory.
    high, low = jnp.maximum(rows, columns), jnp.minimum(rows, columns)

    def load(ref, *at):
        mask = functools.reduce(jnp.logical_and, [i < size for i in at])
        return triton.load(ref.at[at], mask=mask, other=0).astype(jnp.float64)

    lower, upper = load(Q_ref, high, low), load(Q_ref, low, high)
    diagonal, q = load(Q_ref, index, index), load(q_ref, index)
    d = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    S, asymmetry = lower * d[:, None] * d, (lower - upper) * d[:, None] * d
    h = q * d

    slack = 4 * size * float(jnp.finfo(dtype).eps)
    fault = jnp.int32(Status.CERTIFIED)
    for holds, status in (
        # by its 2 x 2 minors no entry of a semidefinite matrix exceeds a unit diagonal
        (jnp.abs(S) <= 1 + 2 * slack, Status.NOT_POSITIVE_DEFINITE),
        (jnp.abs(asymmetry) <= (1e-8 if dtype == jnp.float64 else 1e-4), Status.NOT_SYMMETRIC),
        ((jnp.abs(S) + jnp.abs(h)) < jnp.inf, Status.NOT_FINITE),
        ((diagonal > 0) | ~inside, Status.NOT_POSITIVE_DEFINITE),
        (jnp.abs(lower) + jnp.abs(upper) + jnp.abs(q) < jnp.inf, Status.NOT_FINITE),
    ):
        fault = jnp.where(_all(holds), fault, status)
    # a lane at fault becomes a trivial problem: it costs little and makes no NaN
    S = jnp.where(fault == Status.CERTIFIED, S, jnp.where(rows == columns, 1, 0))
    problem = Problem(S, h, index, inside, size, tol)
    _, swept = _inverse(problem, jnp.full_like(h, slack), inside)
    fault = jnp.where(_all(swept | ~inside), fault, Status.NOT_POSITIVE_DEFINITE)
    h = jnp.where(fault == Status.CERTIFIED, h, 0)
    scale = jnp.max(jnp.abs(h))
    scale = jnp.where(scale > 0, scale, 1)
    problem = problem._replace(h=h / scale)

    x0 = load(x0_ref[0], index) if guessed else jnp.zeros_like(h)
    end = _iterate(problem, (x0 > 0) & (x0 < jnp.inf) if guessed else None, max_iter)

    # rounding to float32 may have made a zero, or overflow
    x = (end.y * d * scale).astype(dtype)
    y = jnp.where(x > 0, end.y, 0)
    residual, w = _residual(problem, y)
    z = (jnp.where(y > 0, 0, jnp.maximum(w, 0)) / d * scale).astype(dtype)
    status = jnp.where(residual <= tol, Status.CERTIFIED, end.status)
    status = jnp.where(_all((x < jnp.inf) & (z < jnp.inf)), status, Status.NOT_FINITE)
    status = jnp.where(fault == Status.CERTIFIED, status, fault)
    bad = (status == Status.NOT_POSITIVE_DEFINITE) | (status == Status.NOT_SYMMETRIC) | (status == Status.NOT_FINITE)
    triton.store(x_ref.at[index], jnp.where(bad, jnp.nan, x), mask=inside)
    triton.store(z_ref.at[index], jnp.where(bad, jnp.nan, z), mask=inside)
    status_ref[...] = status
    iterations_ref[...] = end.iterations
    passes_ref[...] = end.passes
    residual_ref[...] = jnp.where(bad, jnp.nan, residual).astype(dtype)


def _iterate(problem, guess, max_iter):
    """Interior-point iterations, with an exact solve wherever they agree on an active set."""
    x, z = _start(problem)
    nothing, nowhere = jnp.zeros_like(x), jnp.zeros_like(problem.inside)
    residual, _ = _residual(problem, nothing)
    state = State(
        x,
        z,
        active=_larger(problem, x, z) if guess is None else guess,
        ready=jnp.bool_(False) if guess is None else _some(guess),
        tried=nowhere,
        ending=jnp.int32(RUNNING if max_iter > 0 else Status.MAX_ITER),
        y=nothing,
        residual=residual,
        status=jnp.where(residual <= problem.tol, jnp.int32(Status.CERTIFIED), RUNNING),
        iterations=jnp.int32(0),
        passes=jnp.int32(0),
    )

    def iterate(s):
        s = lax.cond(s.ready | (s.ending != RUNNING), functools.partial(_finish, problem), lambda s: s, s)
        s = s._replace(status=jnp.where(s.status == RUNNING, s.ending, s.status))
        return lax.cond(s.status == RUNNING, functools.partial(_advance, problem, max_iter), lambda s: s, s)

    s = lax.while_loop(lambda s: s.status == RUNNING, iterate, state)
    # without a certificate the interior point may be the better one
    y = jnp.where(_larger(problem, s.x, s.z), s.x, 0)
    return _better(s, y, _residual(problem, y)[0])


def _start(problem):
    """A point well inside: (S + I)^-1 h, moved away from the bounds."""
    inverse, _ = _inverse(problem, jnp.ones_like(problem.h), problem.inside)
    x = jnp.maximum(_product(inverse, problem.h), 0)
    g = _product(problem.S, x) - problem.h
    z = jnp.maximum(g, 0) + 0.5 * jnp.maximum(jnp.sum(jnp.abs(g)) / problem.size, 1e-8)
    x = x + 0.5 * jnp.maximum(jnp.sum(x) / problem.size, 1e-8)
    # 1 and 0 in the padding stay as they are and count nowhere
    return jnp.where(problem.inside, x, 1), jnp.where(problem.inside, z, 0)


def _advance(problem, max_iter, s):
    """One predictor-corrector iteration (Mehrotra 1992) on x and z, complementarity x z."""
    mu = jnp.sum(s.x * s.z) / problem.size
    r = _product(problem.S, s.x) - problem.h - s.z
    inverse, _ = _inverse(problem, s.z / s.x, problem.inside)

    def newton(target):
        dx = _product(inverse, jnp.where(problem.inside, target / s.x - r, 0))
        return dx, jnp.where(problem.inside, (target - s.z * dx) / s.x, 0)

    def longest(dx, dz):
        return jnp.minimum(_longest(s.x, dx), _longest(s.z, dz))

    dx, dz = newton(-s.x * s.z)
    a = longest(dx, dz)
    sigma = (jnp.sum((s.x + a * dx) * (s.z + a * dz)) / (problem.size * mu)) ** 3
    dx, dz = newton(sigma * mu - s.x * s.z - dx * dz)
    a = 0.99 * longest(dx, dz)
    x, z = s.x + a * dx, s.z + a * dz

    useful = (a > 1e-8) & _all(((x > 0) & (z > 0) & (x + z < jnp.inf)) | ~problem.inside)
    x, z = jnp.where(useful, x, s.x), jnp.where(useful, z, s.z)
    active = _larger(problem, x, z)
    iterations = s.iterations + 1
    return s._replace(
        x=x,
        z=z,
        active=active,
        ready=(_count(active ^ s.active) <= 2) & _some(active ^ s.tried),
        ending=jnp.where(useful, jnp.where(iterations < max_iter, s.ending, Status.MAX_ITER), Status.STALLED),
        iterations=iterations,
    )


def _finish(problem, s):
    """Solve on the active set, and exchange the variables of the wrong sign as long as they become fewer."""

    def attempt(carry):
        active, before, _, s = carry
        inverse, _ = _inverse(problem, jnp.zeros_like(problem.h), active)

        def refine(_, y):
            return y + _product(inverse, problem.h - _product(problem.S, y))

        y = lax.fori_loop(0, 4, refine, jnp.zeros_like(problem.h))
        feasible = jnp.maximum(y, 0)
        s = _better(s, feasible, _residual(problem, feasible)[0])
        w = _residual(problem, y)[1]
        wrong = jnp.where(active, y < 0, problem.inside & (w < -problem.tol))
        violators = _count(wrong)
        # a guess may have been too collinear to solve on
        stalled = (violators == 0) & (s.iterations > 0)
        status = jnp.where(s.residual <= problem.tol, Status.CERTIFIED, jnp.where(stalled, Status.STALLED, s.status))
        s = s._replace(status=status, passes=s.passes + 1)
        return active ^ wrong, violators, (s.status == RUNNING) & (violators < before), s

    carry = s.active, jnp.int32(problem.size), jnp.bool_(True), s._replace(tried=s.active)
    return lax.while_loop(lambda c: c[2], attempt, carry)[3]


def _better(s, y, residual):
    """The state with y for its best point, if it is."""
    better = residual < s.residual
    return s._replace(y=jnp.where(better, y, s.y), residual=jnp.where(better, residual, s.residual))


def _residual(problem, y):
    """Largest violation of the optimality conditions by y >= 0, and the gradient."""
    w = _product(problem.S, y) - problem.h
    violation = jnp.where(y > 0, jnp.abs(w), jnp.maximum(-w, 0))
    # a GPU's maximum drops NaN
    return jnp.max(jnp.where(violation < jnp.inf, violation, jnp.inf)), w


def _inverse(problem, weights, free):
    """Inverse of S + diag(weights) on the free rows and columns, 0 elsewhere, and which of them it has.

    With u = A[k] + e_k, the update A - u u' / A[k, k] is a sweep of the symmetric A on k: up to signs, the rows and
    columns swept hold the inverse of their block, less 2 on its diagonal. The scaling to unit diagonal keeps the pivots
    in (0, 1] and that 2 harmless. A column that depends on those before it, up to rounding, is left out.
    """
    index = problem.index
    s = 1 / jnp.sqrt(1 + weights)
    diagonal = index[:, None] == index
    A = jnp.where(diagonal, 1, problem.S * s[:, None] * s)
    smallest = problem.size * jnp.finfo(A.dtype).eps

    def sweep(_, carry):
        A, k, swept = carry
        k = jnp.min(jnp.where(free & (index > k), index, LARGEST))
        u = jnp.sum(jnp.where(index[:, None] == k, A, 0), axis=0)
        pivot = jnp.sum(jnp.where(index == k, u, 0))
        sound = pivot > smallest
        u = u + (index == k)
        A = A - (jnp.where(sound, 1 / pivot, 0) * u)[:, None] * u
        return A, k, swept | (sound & (index == k))

    A, _, swept = lax.fori_loop(0, _count(free), sweep, (A, jnp.int32(-1), jnp.zeros_like(free)))
    A = jnp.where(swept[:, None] & swept, -A - jnp.where(diagonal, 2, 0), 0)
    return A * s[:, None] * s, swept


def _product(A, v):
    """A v for a symmetric A, as a sum over rows: most of it stays within a thread."""
    return jnp.sum(A * v[:, None], axis=0)


def _longest(v, dv):
    """Longest step up to 1 that keeps v >= 0."""
    return jnp.minimum(1, jnp.min(jnp.where(dv < 0, -v / dv, 1)))


def _larger(problem, x, z):
    return problem.inside & (x > z)


def _all(mask):
    return jnp.min(mask.astype(jnp.int32)) > 0


def _some(mask):
    return jnp.max(mask.astype(jnp.int32)) > 0


def _count(mask):
    return jnp.sum(mask.astype(jnp.int32), dtype=jnp.int32)
