"""Inversions: lenskern's kernels, cuSOLVER under the reference, jaxnnls and autoarray's certified search, in turns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lenskern import backends, nnls
from lenskern.bench import nnls as bench
from lenskern.bench import problems, report, timing
from lenskern.bench.gpu import problems as ours
from lenskern.bench.gpu import race
from lenskern.bench.gpu.race import System
from lenskern.bench.peers import peers

# The sizes of production first: a run that is cut short has them.
CASES = (
    (1261, 3),
    (40, 1024),
    (1261, 16),
    (1261, 1),
    (1261, 64),
    (40, 1),
    (1149, 3),
    (1581, 3),
    (1149, 16),
    (1581, 16),
    (1149, 1),
    (1581, 1),
    (1149, 64),
    (1581, 64),
    (40, 16),
    (40, 64),
)
LARGEST_PALLAS = 128
# Peers take tens of milliseconds a lane: beyond this batch they say nothing new, and cost minutes.
LARGEST_BATCH_OF_PEERS = {40: 1024}
# A lane after another, as one would without vmap.
LARGEST_LOOP = 3


def cases(dry_run):
    """The cases: K and a batch each; see `parts.cases`."""
    wanted = ((40, 2),) if dry_run else CASES
    found = {f"K = {K}, batch {batch}": partial(measure, K, batch, dry_run) for K, batch in wanted}
    return found if dry_run else {"problems": _generate} | found


def _generate(guard):
    """Make all systems, which takes all cores for a while; there is nothing to record."""
    ours.generate(ours.DISTINCT)
    return []


def measure(K, batch, dry_run, guard):
    """Records of one case: errors are against the exact solutions of the oracle."""
    Q, q, x = ours.systems(K, batch, dry_run)
    systems = [problems.System("", "", *parts) for parts in zip(Q, q, x, strict=True)]
    setups = _setups(jnp.asarray(Q), jnp.asarray(q), dry_run)
    outcome = race.race(setups, guard, **({"runs": 5, "least": 0.0} if dry_run else {}))
    common = {"case": f"K = {K}, batch {batch}", "batch": batch, "K": q.shape[-1]}
    records = race.failed(outcome, **common)
    distinct = len(np.unique(q, axis=0))
    for system, times in outcome.times.items():
        result = outcome.results[system]
        if isinstance(result, list):  # of lanes
            result = jax.tree.map(lambda *parts: jnp.stack(parts), *result)
        found = bench.outcome_of(result, systems)
        flops = _flops(found.pop("lanes", None), x)
        records.append(
            report.record(
                benchmark="gpu",
                **common,
                **system.fields,
                **times,
                **found,
                distinct=distinct,
                single_flops=flops.single,
                double_flops=flops.double,
                peak_bytes=race.peak_bytes(outcome.calls[system]),
            )
        )
    return records


def _flops(lanes, x):
    """Operations of lenskern's solves if every matrix is dense, from the (iterations, passes) of each lane."""
    if lanes is None:
        return timing.Flops(None, None)
    supports = map(int, np.count_nonzero(x, axis=1))
    each = [timing.dense_flops(x.shape[1], size, *counts) for size, counts in zip(supports, lanes, strict=True)]
    return timing.Flops(sum(f.single for f in each), sum(f.double for f in each))


def _setups(Q, q, dry_run):
    """What takes part; see `race.race`."""
    batch, K = q.shape
    names = ["cuda", "reference"] + (["pallas"] if K <= LARGEST_PALLAS else [])
    if dry_run:
        names = ["reference"] + (["cpp"] if backends.availability("cpp").available else [])
    found = {}
    for name in names:
        solve = partial(nnls.solution, backend=name)
        found[System("lenskern", name, "float64")] = partial(race.compiled, jax.vmap(solve), Q, q)
    for peer in peers()[: 1 if dry_run else None]:
        if batch <= LARGEST_BATCH_OF_PEERS.get(K, 16):
            found[System(peer.name, "vmap", "float64")] = partial(_peer, peer, True, Q, q)
        if batch <= LARGEST_LOOP and not dry_run:
            found[System(peer.name, "jit", "float64")] = partial(_peer, peer, False, Q, q)
    return found


def _peer(peer, batched, Q, q):
    solve = peer.load()
    if solve is None:
        raise ImportError(f"not installed: {peer.install}")
    if batched:
        return race.compiled(jax.vmap(solve), Q, q)
    one = jax.jit(solve).lower(Q[0], q[0]).compile()
    # Slices are made here, so that only solves are timed.
    lanes = [(Q[i], q[i]) for i in range(len(q))]
    return lambda: [one(*lane) for lane in lanes]
