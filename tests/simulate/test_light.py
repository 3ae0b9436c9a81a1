import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, special

from lenskern import simulate

GRID = np.random.default_rng(0).uniform(-1, 1, (50, 2))
ELLIPSE = {"centre": (0.1, -0.2), "ell_comps": (0.2, -0.1)}


def radii(grid, centre, ell_comps):
    """√q √(x² + y²/q²) and q, by rotation."""
    f, phi = np.hypot(*ell_comps), np.arctan2(*ell_comps) / 2
    q, (y, x) = (1 - f) / (1 + f), (grid - np.array(centre)).T
    along, across = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
    return np.sqrt(q * (along**2 + across**2 / q**2)), q


def test_profiles_follow_their_formulas():
    r, q = radii(GRID, **ELLIPSE)
    n, re, rb, gamma, alpha = 2.5, 0.4, 0.1, 0.3, 2.0
    b = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2) + 131 / (1148175 * n**3) - 2194697 / (30690717750 * n**4)
    sersic = simulate.Sersic(**ELLIPSE, intensity=2.0, effective_radius=re, sersic_index=n)
    np.testing.assert_allclose(sersic.brightness(GRID), 2 * np.exp(-b * ((r / re) ** (1 / n) - 1)), rtol=1e-13)
    core = simulate.SersicCore(
        **ELLIPSE, effective_radius=re, sersic_index=n, radius_break=rb, gamma=gamma, alpha=alpha
    )
    prime = 0.05 * 2 ** (-gamma / alpha) * np.exp(b * (2 ** (1 / alpha) * rb / re) ** (1 / n))
    expected = (1 + (rb / r) ** alpha) ** (gamma / alpha) * prime
    expected *= np.exp(-b * ((r**alpha + rb**alpha) / re**alpha) ** (1 / (alpha * n)))
    np.testing.assert_allclose(core.brightness(GRID), expected, rtol=1e-12)
    gaussian = simulate.Gaussian(**ELLIPSE, intensity=3.0, sigma=0.2)
    np.testing.assert_allclose(gaussian.brightness(GRID), 3 * np.exp(-((r * np.sqrt(q) / 0.2) ** 2) / 2), rtol=1e-13)


@pytest.mark.parametrize("n, error", [(0.6, 1e-4), (1.0, 2e-5), (2.0, 2e-6), (4.0, 1e-7)])
def test_the_effective_radius_encloses_half_the_light(n, error):
    profile = simulate.Sersic(effective_radius=1.0, sersic_index=n)
    b = np.log(float(profile.brightness(np.zeros(2))) / 0.1)
    assert abs(special.gammainc(2 * n, b) - 0.5) < error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["Sersic", "SersicCore", "Gaussian"])
def test_values_and_derivatives_at_the_centre_are_finite(kind, dtype):
    profile = getattr(simulate, kind)()
    grid = jnp.array([[0.0, 0.0], [0.0, 1e-30], [1e-12, 0.0]], dtype)

    def total(profile, grid):
        return profile.brightness(grid).sum()

    value, slopes = jax.jit(jax.value_and_grad(total, (0, 1)))(profile, grid)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))
    assert (slopes[1][0] == 0).all()
    assert np.isnan(profile.brightness(jnp.array([jnp.nan, 0.0], dtype)))


def test_an_image_is_bilinear_and_fades_to_zero():
    image = np.random.default_rng(1).uniform(size=(7, 5))
    source = simulate.ImageSource(jnp.asarray(image), 0.2, centre=(0.05, -0.1))
    row, column = 3 - (GRID[:, 0] - 0.05) / 0.2, 2 + (GRID[:, 1] + 0.1) / 0.2
    expected = ndimage.map_coordinates(image, [row, column], order=1, mode="grid-constant")
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(source.brightness(GRID), expected, rtol=1e-12, atol=1e-14)
    far = source.brightness(jnp.array([[1e30, 0.0], [0.0, -jnp.inf], [jnp.nan, 0.0]]))
    assert far[0] == 0 and far[1] == 0 and np.isnan(far[2])


def test_what_is_out_of_range_is_refused_or_nan():
    with pytest.raises(ValueError, match=r"effective_radius: got 0.0, expected more than 0"):
        simulate.Sersic(effective_radius=0.0).brightness(GRID)
    with pytest.raises(ValueError, match=r"image: got shape \(3,\), expected \(H, W\)"):
        simulate.ImageSource(jnp.zeros(3), 0.1).brightness(GRID)
    traced = jax.vmap(lambda n: simulate.Sersic(sersic_index=n).brightness(GRID))(jnp.array([1.0, -1.0]))
    assert np.isfinite(traced[0]).all() and np.isnan(traced[1]).all()
