"""Draws from Poisson distributions: are they Poisson distributed, independent, and the same everywhere."""

import hashlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from lenskern import backends
from lenskern.simulate import poisson_reference as reference
from lenskern.simulate.poisson import poisson

RATES = [1e-3, 0.1, 0.7, 3.0, 9.99, 10.0, 10.7, 14.3, 25.0, 80.0, 700.0, 1e4, 3.3e5, 1e7, 1e8, 1e12]
DRAWS = 200_000


@pytest.fixture(scope="module")
def draws():
    """(rates, draws), each rate at positions that no other has."""
    rates = jnp.repeat(jnp.array(RATES), DRAWS).reshape(len(RATES), DRAWS)
    return np.asarray(poisson(jax.random.key(20), rates))


@pytest.mark.parametrize("row", range(len(RATES)))
def test_counts_follow_the_distribution(draws, row):
    # One in 10,000 seeds fails for each rate.
    rate, counts = RATES[row], draws[row]
    assert (counts == np.floor(counts)).all() and (counts >= 0).all()
    # Bins of single counts, or of several with about the same probability.
    levels = np.linspace(2e-4, 1 - 2e-4, 120)
    many = rate > 1e6  # where stats.poisson.ppf fails
    edges = np.unique(
        np.floor(rate + np.sqrt(rate) * stats.norm.ppf(levels)) if many else stats.poisson.ppf(levels, rate)
    )
    expected = np.diff(special.pdtr(edges, rate), prepend=0, append=1) * DRAWS
    observed = np.bincount(np.searchsorted(edges, counts), minlength=edges.size + 1)
    rare = expected < 8  # merged: a bin with few is not chi-square distributed
    expected = np.append(expected[~rare], expected[rare].sum())
    observed = np.append(observed[~rare], observed[rare].sum())
    chi2 = ((observed - expected) ** 2 / np.maximum(expected, 1)).sum()
    assert stats.chi2.sf(chi2, expected.size - 1) > 1e-4


@pytest.mark.parametrize("row", range(len(RATES)))
def test_mean_and_variance(draws, row):
    # 5 standard deviations each: one in 900,000 seeds fails for each rate.
    rate = RATES[row]
    excess = draws[row] - rate
    assert abs(excess.mean()) < 5 * np.sqrt(rate / DRAWS)
    fourth = 3 * rate**2 + rate  # central moment
    assert abs((excess**2).mean() - rate) < 5 * np.sqrt((fourth - rate**2) / DRAWS)


@pytest.mark.parametrize("rate", [0.7, 30.0])
def test_elements_and_keys_are_independent(rate):
    # Each correlation is normal with standard deviation 1/√n: 5 of it are exceeded by one in 1.7 million seeds.
    n = 100_000
    keys = [jax.random.key(0), jax.random.key(1), jax.random.fold_in(jax.random.key(0), 1)]
    a, b, c = (np.asarray(poisson(key, jnp.full(n, rate))) for key in keys)
    normal, uniform = (np.asarray(draw(keys[0], (n,))) for draw in (jax.random.normal, jax.random.uniform))
    theirs = np.asarray(jax.random.poisson(keys[0], rate, (n,)))
    pairs = [(a, np.roll(a, shift)) for shift in (1, 2, 16, 100)]
    pairs += [(a, b), (a, c), (b, c), (a, normal), (a, uniform), (a, theirs)]
    for x, y in pairs:
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(n)


def _envelope(rate):
    """Ratios of the probabilities to the envelope at both ends of each count's interval, and what they are at."""
    a, b = reference.ROOT_A * np.sqrt(rate) - reference.SHIFT_A, reference.ROOT_B * np.sqrt(rate) + reference.SHIFT_B
    low = max(0, int(rate - 14 * np.sqrt(rate)))
    count = np.unique(np.linspace(low, rate + 14 * np.sqrt(rate) + 40, 20_000).astype(np.int64))
    starts = count - (rate - np.floor(rate)) - np.floor(rate) - reference.SHIFT
    ends = np.stack([starts, starts + 1])
    # |offset| = 2 a U/(1/2 − U) + b U, solved for the distance of U from 1/2
    half = np.abs(ends) + 2 * a - b / 2
    edge = 2 * a / (half + np.sqrt(half**2 + 4 * a * b))
    edge = np.where(half > 0, edge, (np.sqrt(half**2 + 4 * a * b) - half) / (2 * b))
    widest = np.where((ends[0] < 0) & (ends[1] > 0), 0.5, edge.max(0))
    probability = np.exp(special.xlogy(count, rate) - rate - special.gammaln(count + 1.0))
    bound = 1.1318 + 1.1407 / (reference.ROOT_B * np.sqrt(rate) - 2.469)
    largest, smallest = ((a / x**2 + b) * probability / bound for x in (edge.min(0), widest))
    squeeze = 0.91378 - 3.56806 / (reference.ROOT_B * np.sqrt(rate) - 1.069)
    return largest.max(), smallest[widest >= reference.CORE].min() / squeeze, 1 / bound


def test_envelope_is_above_the_probabilities_and_the_squeeze_below():
    # What is drawn is exact if and only if these hold.
    rates = np.concatenate([np.linspace(10, 60, 400), np.geomspace(60, 1e6, 120)])
    largest, smallest, success = map(np.array, zip(*map(_envelope, rates), strict=True))
    assert largest.max() < 1
    assert smallest.min() > 1
    assert success.min() > 0.74


def test_logarithms_of_probabilities_against_many_digits():
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(0)
    rates = np.concatenate([10 ** rng.uniform(1, 12, 60), rng.uniform(10, 60, 60)])
    counts = np.floor(np.maximum(rates + np.sqrt(rates) * rng.normal(size=120) * 3, 0))
    counts[60:80] = np.arange(20)
    positive, excess = np.maximum(counts, 1), counts - rates
    got = np.asarray(reference._deviance(*map(jnp.asarray, (rates, counts, positive, excess))))
    got = got + np.asarray(reference._stirling(*map(jnp.asarray, (positive, counts))))
    got = -got - np.log(2 * np.pi * positive) / 2
    with mpmath.workdps(40):
        k, mean = [[mpmath.mpf(float(x)) for x in values] for values in (counts, rates)]
        expected = [float(x * mpmath.log(m) - m - mpmath.loggamma(x + 1)) for x, m in zip(k, mean, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=3e-15, atol=0)


def test_special_rates():
    rates = jnp.array([0.0, -0.0, 1e-300, -1e-300, -1.0, jnp.nan, jnp.inf, -jnp.inf, 2.0**125, 1e300, 1e25, 10.0])
    counts = np.asarray(poisson(jax.random.key(0), rates))
    np.testing.assert_array_equal(counts[:3], 0)
    assert np.isnan(counts[3:8]).all()
    np.testing.assert_array_equal(counts[8:10], rates[8:10])
    assert counts[10] != 1e25 and abs(counts[10] - 1e25) < 6 * np.sqrt(1e25)
    # A bad rate changes no other element.
    assert counts[11] == poisson(jax.random.key(0), jnp.full(12, 10.0))[11]


BACKENDS = [name for name in ("cpp",) if backends.availability(name).available]


def _mixed_rates(n, dtype):
    """Rates of all regimes, 5 % of them 0 or bad."""
    rng = np.random.default_rng(1)
    rates = 10 ** np.where(rng.random(n) < 0.5, rng.uniform(-3, 2.5, n), rng.uniform(-3, 14, n))
    rates[rng.random(n) < 0.05] = 0
    rates[::101] = np.nan
    rates[::103] = -1
    return jnp.asarray(rates, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_backends_agree_to_the_bit(backend, dtype):
    rates = _mixed_rates(1_000_003, dtype)
    key = jax.random.key(5)
    expected = poisson(key, rates, backend="reference")
    assert expected.dtype == dtype
    np.testing.assert_array_equal(poisson(key, rates, backend=backend), expected)


@pytest.mark.skipif(not BACKENDS, reason="without the C++ kernels")
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_instruction_sets_and_threads_agree_to_the_bit(isa):
    code = """
import hashlib, os, runpy, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # one thread
import jax
jax.config.update("jax_enable_x64", True)
from lenskern.simulate.poisson import poisson
rates = runpy.run_path(sys.argv[1])["_mixed_rates"](100_003, "float64")
print(hashlib.sha256(poisson(jax.random.key(9), rates, backend="cpp").tobytes()).hexdigest())
"""
    other = subprocess.run(
        [sys.executable, "-c", code, __file__],
        env=os.environ | {"LENSKERN_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    counts = poisson(jax.random.key(9), _mixed_rates(100_003, "float64"), backend="cpp")
    assert other.stdout.strip() == hashlib.sha256(counts.tobytes()).hexdigest()


def test_float32_rates_have_the_counts_of_float64():
    rates, key = _mixed_rates(30_000, jnp.float32), jax.random.key(6)
    double = poisson(key, rates.astype(jnp.float64))
    np.testing.assert_array_equal(poisson(key, rates), double.astype(jnp.float32))


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_alone_and_in_a_batch(backend):
    rates = _mixed_rates(6 * 257, jnp.float64).reshape(6, 257)
    keys = jax.random.split(jax.random.key(7), 6)
    alone = np.stack([poisson(key, rate, backend=backend) for key, rate in zip(keys, rates, strict=True)])

    def draw(key, rate):
        return poisson(key, rate, backend=backend)

    np.testing.assert_array_equal(jax.jit(jax.vmap(draw))(keys, rates), alone)
    every = jax.vmap(jax.vmap(draw, (None, 0)), (0, None))(keys, rates)  # [key, rate]
    np.testing.assert_array_equal(every[jnp.arange(6), jnp.arange(6)], alone)
    # The position is that in the flattened array, whatever its shape.
    np.testing.assert_array_equal(draw(keys[0], rates[0].reshape(1, 257)).ravel(), alone[0])


def test_keys_of_all_kinds():
    rates = jnp.full(64, 30.0)
    typed = poisson(jax.random.key(3), rates)
    np.testing.assert_array_equal(poisson(jax.random.PRNGKey(3), rates), typed)
    others = [poisson(jax.random.key(3, impl=name), rates) for name in ("rbg", "unsafe_rbg")]
    keys = jax.vmap(lambda seed: jax.random.key(seed, impl="rbg"))(jnp.arange(4))
    np.testing.assert_array_equal(jax.vmap(poisson, (0, None))(keys, rates)[3], others[0])
    assert (np.asarray(others[0]) != np.asarray(typed)).any()


def test_derivative_is_zero():
    def loss(rate):
        return (poisson(jax.random.key(0), rate * jnp.ones(8)) ** 2).sum()

    assert jax.grad(loss)(30.0) == 0
    assert (jax.vmap(jax.grad(loss))(jnp.array([3.0, 30.0])) == 0).all()
    assert jax.jvp(loss, (30.0,), (1.0,))[1] == 0


def test_empty():
    assert poisson(jax.random.key(0), jnp.zeros((0, 3))).shape == (0, 3)
    keys = jax.random.split(jax.random.key(0), 0)
    assert jax.vmap(poisson, (0, None))(keys, jnp.ones(3)).shape == (0, 3)


def test_bad_arguments():
    key, rate = jax.random.key(0), jnp.ones(3)
    with pytest.raises(ValueError, match="rate: got dtype int"):
        poisson(key, jnp.ones(3, int))
    with pytest.raises(ValueError, match=r"key: got keys of shape \(2,\)"):
        poisson(jax.random.split(key), rate)
    with pytest.raises(ValueError, match=r"key: got shape \(2, 2\)"):
        poisson(jnp.zeros((2, 2), jnp.uint32), rate)
    with pytest.raises(ValueError, match="key: got int"):
        poisson(0, rate)
    with pytest.raises(ValueError, match="backend: got 'fast'"):
        poisson(key, rate, backend="fast")
    with pytest.raises(RuntimeError, match="backend 'pallas'"):
        poisson(key, rate, backend="pallas")
