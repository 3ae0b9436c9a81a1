"""Noisy images of the users' model, a lens with subhaloes and a line of sight, per second; and other simulators."""

import copy
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from lenskern import backends
from lenskern.bench import report, simulate_peers, simulate_systems
from lenskern.bench.gpu import race
from lenskern.bench.gpu.race import System

CONFIG = Path("examples/substructure.yaml")
BATCHES = (64, 1, 1024)
# The others' rate does not change any more, and a thousand images take them too long.
LARGEST_OF_OTHERS = 64
PEER_CASES = (simulate_systems.Case(1, 16),)
# A dry run's model: what compiles in seconds. The other one has populations of haloes, and takes half a minute.
SMALL = {
    "seed": 1,
    "theta": {"gamma_1": {"normal": [0, 0.04]}},
    "scene": {"shape": [8, 8], "pixel_scale": 0.5, "over_sampling": 1, "exposure_time": 2000, "background": 0.1},
    "cosmology": {"H0": 67.7, "Om0": 0.31},
    "lens": {"redshift": 0.5, "mass": [{"external_shear": {"gamma_1": "gamma_1", "gamma_2": 0.0}}]},
    "source": {
        "redshift": 1.5,
        "light": [{"sersic": {"centre": [0, 0], "intensity": 1.0, "effective_radius": 0.2, "sersic_index": 1.0}}],
    },
}


def cases(dry_run):
    """The cases: batches of the users' model, and of the haloes that other simulators take; see `parts.cases`."""
    batches = (2,) if dry_run else BATCHES
    found = {f"substructure, batch {batch}": partial(_substructure, batch, dry_run) for batch in batches}
    if not dry_run:
        found |= {case.name: partial(_beside_peers, case) for case in PEER_CASES}
    return found


def _substructure(batch, dry_run, guard):
    """Records of one batch of the users' model."""
    names = ("cuda", "pallas", "reference")
    if dry_run:
        names = ("cpp" if backends.availability("cpp").available else "reference",)
    systems = [System("lenskern", name, "float32") for name in names]
    if not dry_run:
        systems = [s for s in systems if s.backend == "cuda" or batch <= LARGEST_OF_OTHERS]
        systems.append(System("lenskern", "cuda", "float64"))
    setups = {system: partial(_images, batch, dry_run, system) for system in systems}
    outcome = race.race(setups, guard, **({"runs": 5, "least": 0.0} if dry_run else {}))
    fields = {"case": f"substructure, batch {batch}", "batch": batch}
    records = race.failed(outcome, **fields)
    for system, times in outcome.times.items():
        found = outcome.results[system]
        records.append(
            report.record(
                benchmark="gpu",
                **fields,
                **system.fields,
                **times,
                images_per_s=batch / times["median_s"],
                valid=int((found["status"] == 0).sum()),
                peak_bytes=race.peak_bytes(outcome.calls[system]),
            )
        )
    return records


def _images(batch, dry_run, system):
    """A call that makes the images of one batch, parameters and noise and all."""
    from lenskern.simulate import dataset  # needs a YAML reader
    from lenskern.simulate.dataset.document import parse
    from lenskern.simulate.dataset.recipe import deterministic

    if dry_run:
        document = copy.deepcopy(SMALL)
    elif CONFIG.exists():
        document = parse(CONFIG.read_text(encoding="utf-8"), str(CONFIG)).plain()
    else:
        raise NotImplementedError(f"there is no {CONFIG} here; run this in the folder of the repository")
    document["dtype"] = system.dtype
    document["scene"]["backend"] = system.backend
    recipe = dataset.load(document).recipe()
    numbers = jnp.arange(batch, dtype="uint32")
    with deterministic(system.dtype):
        return race.compiled(jax.vmap(recipe.one, (None, 0)), recipe.root(), numbers)


def _beside_peers(case, guard):
    """Records of a batch of images of lenses with haloes that are given, in float64."""
    known = [s for s in simulate_systems.own() if s.tol] + simulate_peers.peers()
    setups = {}
    for system in known:
        name = "cuda" if system.name == "lenskern" else system.backend
        key = System(system.name, name, system.dtype, system.tol)
        setups[key] = partial(_peer, case, system, name)
    outcome = race.race(setups, guard)
    records = race.failed(outcome, case=case.name, batch=case.batch)
    return records + [
        report.record(
            benchmark="gpu",
            case=case.name,
            batch=case.batch,
            **system.fields,
            **times,
            images_per_s=case.batch / times["median_s"],
        )
        for system, times in outcome.times.items()
    ]


def _peer(case, system, backend):
    if system.name == "lenskern":
        backends.require(backend)
        return simulate_systems._lenskern(backend, system.dtype, system.tol, case).images
    setup = system.load()
    if setup is None:
        raise ImportError(f"not installed: {system.install}")
    if case.rays > system.most_rays:
        raise NotImplementedError("the batch does not fit into memory")
    return setup(case).images
