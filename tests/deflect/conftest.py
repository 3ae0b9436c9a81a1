import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lenskern import backends, deflect


def mixed_population(n=6, seed=0, dtype="float64", width=4.0, kinds=("nfw", "tnfw", "dpie", "sis", "sheet")):
    """n haloes of each kind in a square field, and a masked one that holds nonsense."""
    rng = np.random.default_rng(seed)

    def centres():
        return jnp.asarray(rng.uniform(-width / 2, width / 2, (n, 2)), dtype)

    def lengths(low, high):
        return jnp.asarray(np.exp(rng.uniform(np.log(low), np.log(high), n)), dtype)

    makers = {
        "nfw": lambda: deflect.nfw(centres(), lengths(1e-3, 0.1), lengths(0.02, 1)),
        "tnfw": lambda: deflect.tnfw(centres(), lengths(1e-3, 0.1), lengths(0.02, 1), lengths(0.05, 5)),
        "cnfw": lambda: deflect.cnfw(centres(), lengths(1e-3, 0.1), lengths(0.1, 1), lengths(0.003, 0.3)),
        "tnfwc": lambda: deflect.tnfwc(
            centres(), lengths(1e-3, 0.1), lengths(0.1, 1), lengths(0.003, 0.3), lengths(0.3, 3)
        ),
        "dpie": lambda: deflect.dpie(centres(), lengths(0.01, 0.1), lengths(1e-3, 0.05), lengths(0.1, 1)),
        "point": lambda: deflect.point_mass(centres(), lengths(0.01, 0.05), lengths(0.01, 0.1)),
        "sis": lambda: deflect.sis(centres(), lengths(0.01, 0.1)),
        "sheet": lambda: deflect.mass_sheet(centres(), -lengths(1e-3, 0.02)),
    }
    halos = deflect.concatenate([makers[kind]() for kind in kinds])
    halos = halos.pad(len(halos) + 1)
    nonsense = {"centre": jnp.nan, "amplitude": jnp.inf, "scale": -1.0, "shape": jnp.nan}
    arrays = {name: getattr(halos, name).at[-1].set(value) for name, value in nonsense.items()}
    return deflect.Halos(halos.profile.at[-1].set(99), **arrays, mask=halos.mask, tables=None, profiles=halos.profiles)


def square_grid(n, width=4.0, dtype="float64"):
    """Pixel centres (n, n, 2) of a square field, shifted so that none of them is special."""
    x = (np.arange(n) + 0.5) / n * width - width / 2 + 1e-3
    return jnp.asarray(np.stack(np.meshgrid(x, x, indexing="ij"), -1), dtype)


@pytest.fixture(scope="session")
def population():
    return mixed_population


@pytest.fixture(scope="session")
def pixels():
    return square_grid


@pytest.fixture(scope="session", params=backends.NAMES)
def backend(request, available):
    """Every backend by name; skipped, with the reason, where it is not available."""
    available(request.param)
    if request.param in ("cuda", "triton") and jax.default_backend() != "gpu":
        pytest.skip(f"backend {request.param}: no GPU here; tests of its own emulate it")
    return request.param
