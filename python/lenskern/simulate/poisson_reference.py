"""The Poisson sampler in jnp. Its arithmetic rounds alike everywhere, so that every kernel draws the same counts.

Below a rate of 10 the distribution is inverted by a search from 0. Above, Hörmann's transformed rejection (1993,
Insurance: Mathematics and Economics 12, 39, algorithm PTRS) draws from an envelope; the constants published let the
ratio of the probabilities to the envelope exceed 1 by up to 0.6 %, those below do not.
"""

import sys

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p

# Rates from here on are drawn by rejection.
LEAST_REJECTION = 10.0
# Above, the standard deviation is below 1/256 of the distance between neighbouring numbers.
LARGEST = 2.0**120
# Inversion ends where the probabilities are below this.
LEAST_PROBABILITY = 2.0**-60
# Never reached: each attempt succeeds with a probability above 0.74.
MOST_ATTEMPTS = 1000

# The envelope is the distribution of (2 a/(1/2 − |U|) + b) U + λ + 0.43 for U uniform in (−1/2, 1/2), with b and a
# linear in √λ; times `bound` its density is above the probabilities. What is drawn with 1/2 − |U| ≥ `CORE` is accepted
# if a uniform number is below `squeeze`, without further computation.
ROOT_B, SHIFT_B = 2.53, 0.931
ROOT_A, SHIFT_A = 0.0628199, 0.03588327
SHIFT = 0.43
CORE = 0.07

# LN2_HIGH has 42 bits: an integer below 2048 times it is exact.
LOG2E, LN2 = 1.4426950408889634, 0.6931471805599453
LN2_HIGH, LN2_LOW = 0.6931471805598903, 5.497923018708371e-14
TWO_PI = 6.283185307179586
_ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # of √½
_BIAS = 1023  # of the exponent of a double

# 1/(n + 3)! from the highest on; 1/(2 n + 3) likewise; the series of Stirling's correction in 1/k².
_EXPONENTIAL = tuple(
    1.0 / n for n in (6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2)
)
_ARTANH = tuple(1.0 / n for n in (21, 19, 17, 15, 13, 11, 9, 7, 5, 3))
_STIRLING = (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
# The same, ln(k! eᵏ/(kᵏ √(2 π k))), for k < 16; for k = 0 without the k below the root.
_STIRLING_TABLE = (
    -0.9189385332046728,
    0.08106146679532726,
    0.0413406959554093,
    0.02767792568499834,
    0.020790672103765093,
    0.016644691189821193,
    0.013876128823070748,
    0.01189670994589177,
    0.010411265261972096,
    0.009255462182712733,
    0.00833056343336287,
    0.007573675487951841,
    0.00694284010720953,
    0.006408994188004207,
    0.0059513701127588475,
    0.005554733551962801,
)


def poisson(seed, rate):
    """Draw from Poisson distributions; element i depends on the seed, on i and on its rate only.

    Parameters
    ----------
    seed : (..., 2) array of uint32
    rate : (..., n) array of float64

    Returns
    -------
    (..., n) array of float64
        Counts; NaN where the rate is negative or not finite. The leading axes of seed and rate are broadcast.
    """
    shape = jnp.broadcast_shapes(seed.shape[:-1], rate.shape[:-1]) + rate.shape[-1:]
    rate = jnp.broadcast_to(rate, shape)
    words = [jnp.broadcast_to(seed[..., k : k + 1], shape) for k in range(2)]
    words.append(jax.lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 1))
    small = (rate > 0) & (rate < LEAST_REJECTION)
    large = (rate >= LEAST_REJECTION) & (rate <= LARGEST)
    counts = jnp.where((rate == 0) | ((rate > LARGEST) & (rate < jnp.inf)), rate, jnp.nan)
    counts = jnp.where(small, _invert(words, jnp.where(small, rate, 0.0)), counts)
    return jnp.where(large, _reject(words, jnp.where(large, rate, LEAST_REJECTION), large), counts)


def _uniform(words, blocks):
    """Uniform numbers in (0, 1) of some blocks, odd multiples of 2^-53."""
    shape = blocks.shape + words[0].shape
    blocks = jax.lax.broadcast_in_dim(blocks, shape, range(blocks.ndim))
    high, low = threefry2x32_p.bind(*(jnp.broadcast_to(x, shape) for x in words), blocks)
    return high.astype(jnp.float64) * 2.0**-32 + (low >> 12).astype(jnp.float64) * 2.0**-52 + 2.0**-53


def _times(a, b):
    """A product that no compiler fuses with a sum, which would round differently."""
    return jnp.minimum(a * b, sys.float_info.max)


def _polynomial(coefficients, x):
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = _times(value, x) + coefficient
    return value


def _power_of_two(exponent):
    """2 to the power of an int64 above −1023."""
    return jax.lax.bitcast_convert_type((exponent + _BIAS) << 52, jnp.float64)


def _exp_of_minus(x):
    """e^−x for x ≥ 0, at least e^−700."""
    x = jnp.minimum(x, 700.0)
    whole = jnp.floor(_times(x, LOG2E) + 0.5)
    rest = (_times(whole, LN2_HIGH) - x) + _times(whole, LN2_LOW)
    value = _times(_times(_polynomial(_EXPONENTIAL, rest), rest) + 1.0, rest) + 1.0
    return _times(value, _power_of_two(-whole.astype(jnp.int64)))


def _invert(words, rate):
    """The least k whose cumulative probability is not below a uniform number, by a search from 0."""
    uniform = _uniform(words, jnp.zeros((), jnp.uint32))

    def searching(state):
        _, term, total, _ = state
        return (uniform > total) & (term > LEAST_PROBABILITY)

    def step(state):
        k, term, total, count = state
        term_of_next = _times(term, _times(rate, 1.0 / k))
        return k + 1.0, term_of_next, total + term_of_next, count + searching(state)

    first = _exp_of_minus(rate)
    start = (jnp.ones((), rate.dtype), first, first, jnp.zeros_like(rate))
    return jax.lax.while_loop(lambda state: searching(state).any(), step, start)[3]


def _reject(words, rate, wanted):
    """Attempts until all that are wanted have succeeded."""
    root, whole = jnp.sqrt(rate), jnp.floor(rate)

    def attempt(state):
        n, count, left = state
        u, v = _uniform(words, 2 * n + jnp.arange(2, dtype=jnp.uint32))
        offset, accepted = _attempt(rate, root, whole, u - 0.5, v)
        return n + 1, jnp.where(left & accepted, whole + offset, count), left & ~accepted

    start = (jnp.zeros((), jnp.uint32), jnp.full_like(rate, jnp.nan), wanted)
    return jax.lax.while_loop(lambda state: state[2].any() & (state[0] < MOST_ATTEMPTS), attempt, start)[1]


def _attempt(rate, root, whole, u, v):
    """An offset from ⌊λ⌋, and whether it is accepted."""
    a, b = _times(ROOT_A, root) - SHIFT_A, _times(ROOT_B, root) + SHIFT_B
    edge = 0.5 - jnp.abs(u)
    fraction = rate - whole
    offset = jnp.floor(_times((a + a) / edge + b, u) + (fraction + SHIFT))
    squeeze = 0.91378 - 3.56806 / (_times(ROOT_B, root) - 1.069)
    quick = (edge >= CORE) & (v <= squeeze)

    count, excess = whole + offset, offset - fraction
    bound = 1.1318 + 1.1407 / (_times(ROOT_B, root) - 2.469)
    positive = jnp.maximum(count, 1.0)
    weight = _times(_times(v, bound), _times(jnp.sqrt(_times(TWO_PI, positive)), _times(edge, edge)))
    density = a + _times(b, _times(edge, edge))
    exponent = _deviance(rate, jnp.maximum(count, 0.0), positive, excess) + _stirling(positive, count)
    return offset, quick | ((count >= 0) & (weight <= _times(density, _exp_of_minus(exponent))))


def _deviance(rate, count, positive, excess):
    """k ln(k/λ) − (k − λ), without cancellation near k = λ (Loader 2000).

    ln(k/λ) = e ln 2 + 2 artanh(v), v = (k − 2^e λ)/(k + 2^e λ), with e such that k/(2^e λ) is within [√½, √2).
    """
    bits = jax.lax.bitcast_convert_type(positive / rate, jnp.uint64)
    exponent = ((bits - jnp.uint64(_ROOT_HALF_BITS) + jnp.uint64(_BIAS << 52)) >> 52).astype(jnp.int64) - _BIAS
    scaled = _times(rate, _power_of_two(exponent))
    near = exponent == 0
    v = jnp.where(near, excess, positive - scaled) / (positive + scaled)
    square, part = _times(v, v), _times(count, v)
    far = _times(count, _times(exponent.astype(jnp.float64), LN2) + (v + v)) - excess
    tail = _times(part + part, _times(square, _polynomial(_ARTANH, square)))
    return jnp.where(near, _times(excess, v), far) + tail


def _stirling(positive, count):
    inverse = 1.0 / positive
    series = _times(inverse, _polynomial(_STIRLING, _times(inverse, inverse)))
    table = jnp.asarray(_STIRLING_TABLE, jnp.float64)
    return jnp.where(count < 16, table[jnp.clip(count, 0, 15).astype(jnp.int32)], series)
