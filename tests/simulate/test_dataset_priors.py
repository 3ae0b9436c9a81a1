import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lenskern.simulate.dataset import priors

# Each prior with the distribution of scipy that it is.
SAME = {
    "uniform": (priors.Uniform(-1.0, 3.0), stats.uniform(-1, 4)),
    "log_uniform": (priors.LogUniform(1e6, 1e10), stats.loguniform(1e6, 1e10)),
    "power_law": (priors.PowerLaw(1.0, 5.0, 1.5), stats.powerlaw(2.5)),
    "steep": (priors.PowerLaw(2.0, 1e4, -1.9), stats.truncpareto(0.9, 5e3, scale=2)),
    "flat_in_log": (priors.PowerLaw(0.1, 20.0, -1.0), stats.loguniform(0.1, 20)),
    "normal": (priors.Normal(2.0, 0.1), stats.norm(2, 0.1)),
    "log_normal": (priors.LogNormal(3.0, 0.4), stats.lognorm(0.4, scale=3)),
    "truncated": (priors.TruncatedNormal(0.7, 0.3, 0.1, 0.95), stats.truncnorm(-2, 2.5 / 3, 0.7, 0.3)),
    "upper_tail": (priors.TruncatedNormal(0.0, 1.0, 4.0, 6.0), stats.truncnorm(4, 6)),
    "lower_tail": (priors.TruncatedNormal(1.0, 2.0, -20.0, -7.0), stats.truncnorm(-10.5, -4, 1, 2)),
}
# scipy's power law starts at 0: its quantile at what is left of the probability above low.
PROBABILITIES = np.array([1e-6, 0.01, 0.2, 0.5, 0.77, 0.99, 1 - 1e-6])


@pytest.mark.parametrize("name", SAME)
def test_quantiles_are_those_of_scipy(name):
    prior, reference = SAME[name]
    u = PROBABILITIES
    if name == "power_law":
        below = reference.cdf(1 / 5)
        expected = 5 * reference.ppf(below + (1 - below) * u)
    else:
        expected = reference.ppf(u)
    np.testing.assert_allclose(prior.quantile(u), expected, rtol=1e-9, atol=1e-12)
    single = prior.quantile(jnp.asarray(u[:-1], jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected[:-1], rtol=3e-5, atol=3e-5)


ALL = {name: prior for name, (prior, _) in SAME.items()} | {
    "whole": priors.Integers(-3, 8),
    "one_of": priors.Choice((0.2, 1.5, 7.0)),
    "weighted": priors.Choice((2.0, 1.0, 5.0), (1.0, 0.0, 3.0)),
    "fixed": priors.Constant(0.25),
}


@pytest.fixture(scope="module")
def drawn():
    keys = jax.random.split(jax.random.key(3), 20_000)
    return {t: jax.jit(jax.vmap(lambda key, t=t: priors.draw(ALL, key, t)))(keys) for t in (jnp.float32, jnp.float64)}


@pytest.mark.parametrize("name", [name for name in SAME if name != "power_law"])
def test_draws_follow_the_distribution(drawn, name):
    # A false alarm of one seed in 1e6 for each; the seed is fixed.
    assert stats.kstest(np.asarray(drawn[jnp.float64][name]), SAME[name][1].cdf).pvalue > 1e-6


def test_discrete_draws_have_their_probabilities(drawn):
    draws = {name: np.asarray(x) for name, x in drawn[jnp.float32].items()}
    counts = np.bincount((draws["whole"] + 3).astype(int), minlength=12)
    assert len(counts) == 12 and stats.chisquare(counts).pvalue > 1e-6
    assert stats.chisquare([(draws["one_of"] == np.float32(x)).sum() for x in (0.2, 1.5, 7.0)]).pvalue > 1e-6
    assert set(draws["weighted"]) == {2.0, 5.0}
    assert stats.binomtest(int((draws["weighted"] == 5.0).sum()), 20_000, 0.75).pvalue > 1e-6
    assert set(draws["fixed"]) == {0.25}


def test_parameters_are_independent(drawn):
    matrix = np.stack([stats.rankdata(drawn[jnp.float64][name]) for name in SAME])
    off = np.corrcoef(matrix)[np.triu_indices(len(SAME), 1)]
    assert np.abs(off).max() < 5 / np.sqrt(20_000)


def test_float32_draws_are_the_float64_ones_rounded(drawn):
    for name in ALL:
        np.testing.assert_allclose(drawn[jnp.float32][name], drawn[jnp.float64][name], rtol=2e-3, atol=2e-3)


def test_a_draw_depends_on_the_name_alone():
    key = jax.random.key(5)
    one = priors.draw({"b": priors.Uniform(0, 1)}, key)
    more = priors.draw({"a": priors.Normal(0, 1), "b": priors.Uniform(0, 1), "c": priors.Uniform(0, 1)}, key)
    assert one["b"] == more["b"] != more["c"]


def test_draws_stay_inside_the_support(drawn):
    for dtype, draws in drawn.items():
        for name, prior in ALL.items():
            low, high = np.asarray(prior.support, dtype)
            assert low <= draws[name].min() and draws[name].max() <= high, name
            assert draws[name].dtype == dtype


def test_integers_reach_both_ends_and_no_further():
    ends = jnp.asarray([[0, 0], [2**32 - 1, 0]], jnp.uint32)
    for low, high in ((0, 0), (5, 50), (0, 2**16 - 1)):
        prior = priors.Integers(low, high)
        assert [float(prior._draw(bits, jnp.float32)) for bits in ends] == [low, high]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: priors.Uniform(2, 1), "high: got 1, expected a number above low, 2"),
        (lambda: priors.Uniform(float("nan"), 1), "low: got nan, expected a finite number"),
        (lambda: priors.Uniform(True, 2), "low: got True, expected a finite number"),
        (lambda: priors.LogUniform(0, 1), "low: got 0, expected a number above 0"),
        (lambda: priors.Normal(0, 0), "sigma: got 0, expected a number above 0"),
        (lambda: priors.TruncatedNormal(0, 1, 40, 50), "low: got 40 to 50, expected an interval that holds more"),
        (lambda: priors.Integers(1.5, 3), "low: got 1.5, expected an integer"),
        (lambda: priors.Integers(0, 2**16), "high: got 65536, expected at least low, 0, and less than"),
        (lambda: priors.Choice(()), "values: got \\(\\), expected a list of numbers"),
        (lambda: priors.Choice((1, 2), (1,)), "weights: got 1 of them, expected one for each of 2"),
        (lambda: priors.Choice((1, 2), (0, 0)), "weights: got .* expected numbers of at least 0"),
    ],
)
def test_bad_priors_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
