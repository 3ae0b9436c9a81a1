"""The chunks of a data set on the workers of a Dask cluster."""

import contextlib
import json
import threading
from functools import lru_cache

import jax

from . import config as configs
from ._require import require
from .environment import environment
from .fill import simulate_chunks
from .recipe import deterministic, program
from .store import DataSet

__all__ = ["run_on_cluster"]

# One chunk at a time in a process: a program has all of its devices anyway.
_busy = threading.Lock()


def run_on_cluster(config, data, chunks, scheduler, done, record):
    """Have the workers of a cluster simulate chunks and write them into the set.

    A chunk is a task. If a worker dies, Dask gives its tasks to others; those that are done are not repeated.

    Parameters
    ----------
    config : Config
    data : DataSet
    chunks : sequence of int
    scheduler : str or distributed.Client
    done : callable
        Called with a number of images whenever so many more have been simulated.
    record : callable
        Called with the environment of a worker for each chunk that it simulated.
    """
    distributed = require("distributed")
    stored = json.dumps({name: value for name, value in config.attributes().items() if name != "runs"})
    with contextlib.ExitStack() as stack:
        client = scheduler
        if not isinstance(client, distributed.Client):
            client = stack.enter_context(distributed.Client(scheduler, set_as_default=False))
        tasks = client.map(_chunk, chunks, path=str(data.path.absolute()), stored=stored, pure=False)
        try:
            for task in distributed.as_completed(tasks, loop=client.loop):
                images, found = task.result()
                task.release()
                done(images)
                if found is not None:
                    record(data, found)
        finally:
            client.cancel(tasks)


def _chunk(chunk, path, stored):
    """The number of images in a chunk, and the environment that simulated it, or None if it was there."""
    try:
        data = DataSet(path)
    except ValueError as error:
        raise ValueError(f"out: a worker does not see {path!r}; it must be where all of them can write") from error
    recipe, run, devices, fingerprint = _prepared(stored)
    if data.attributes["fingerprint"] != fingerprint:
        raise ValueError(f"out: what a worker sees at {path!r} is another set; it must be where all of them can write")
    first, end = data.bounds(chunk)
    with _busy:
        if data.has(chunk):
            return end - first, None
        with deterministic(recipe.dtype):
            simulate_chunks(recipe, run, devices, data, [chunk], lambda count: None)
    return end - first, environment()


@lru_cache(maxsize=2)
def _prepared(stored):
    config, devices = configs.from_attributes(json.loads(stored)), tuple(jax.local_devices())
    recipe = config.recipe()
    with deterministic(recipe.dtype):
        return recipe, program(recipe, devices), len(devices), config.fingerprint
