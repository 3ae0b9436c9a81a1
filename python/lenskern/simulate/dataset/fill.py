"""Fill a data set, chunk by chunk."""

import collections
import contextlib
import dataclasses
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from pathlib import Path

import jax
import numpy as np

from ... import _checks
from . import config as configs
from ._require import require
from .environment import environment
from .recipe import deterministic, program
from .store import ARRAYS, DataSet, ImageStatus

__all__ = ["Filled", "fill", "open_set", "record_run", "simulate_chunks"]

# Launches and chunks in flight: the device has work while the host takes over, compresses and writes.
_LAUNCHES, _WRITES = 2, 2


@dataclasses.dataclass(frozen=True)
class Filled:
    """What a call of `fill` did.

    Attributes
    ----------
    path : Path
    images : int
        In the set.
    simulated : int
        By this call.
    seconds : float
        That it took, with compilation.
    not_finite, overflow : int
        Images of the set with these statuses.
    """

    path: Path
    images: int
    simulated: int
    seconds: float
    not_finite: int
    overflow: int


def fill(config, out, n, *, seed=None, scheduler=None, devices=None, progress=True):
    """Fill a data set with simulated images.

    Image i is a function of the config, the seed and i: a set can be filled by several calls and be made longer. A
    chunk is whole or absent: after a kill at any moment the same call goes on where that one stopped, and the set
    becomes, bit for bit, what it would have been. The first SIGINT or SIGTERM lets the chunk that is being written end,
    and then has its usual effect.

    The precision is that of the config, whether or not the caller has 64-bit types on.

    Parameters
    ----------
    config : path, dict or Config
        A YAML file, what it would contain, or a data set, whose config is taken.
    out : path
        The Zarr group: a new one, or a set of the same config and seed.
    n : int
        Images that the set is to have, at least as many as it has.
    seed : int, optional
        In place of that of the config.
    scheduler : str or distributed.Client, optional
        Address of a Dask scheduler, whose workers then do the work; they must see `out` under the same path.
    devices : sequence of jax.Device, optional
        All local ones by default. The images do not depend on their number.
    progress : bool
        Whether to show a bar with images per second and the time left on stderr.

    Returns
    -------
    Filled

    Raises
    ------
    ConfigError
        For a bad config; it names the file, the line and the key.
    ValueError
        For an `out` with another config or seed, which says what differs, and for other bad arguments.
    """
    n = _checks.positive_int("n", n)
    config = configs.load(config, seed=seed)
    data = open_set(config, out, n)
    with data.locked():
        data.resize(n)
        missing, start = data.missing(), time.perf_counter()
        left = _images(data, missing)
        with _bar(n, n - left, progress) as bar:
            if scheduler is not None:
                from .cluster import run_on_cluster

                run_on_cluster(config, data, missing, scheduler, bar.update, record_run)
            elif missing:
                record_run(data, environment())
                recipe = config.recipe()
                devices = tuple(jax.local_devices() if devices is None else devices)
                with deterministic(recipe.dtype):
                    simulate_chunks(recipe, program(recipe, devices), len(devices), data, missing, bar.update)
        seconds, status = time.perf_counter() - start, data.status[:]
        # Not all, where a signal came and its handler let the program go on.
        simulated = left - _images(data, data.missing())
    counts = {code: int((status == code).sum()) for code in ImageStatus}
    return Filled(data.path, n, simulated, seconds, counts[ImageStatus.NOT_FINITE], counts[ImageStatus.OVERFLOW])


def _images(data, chunks):
    """Number of images in some chunks."""
    return sum(stop - first for first, stop in map(data.bounds, chunks))


def open_set(config, out, n):
    """The set at `out`: made if there is nothing, checked if there is.

    Parameters
    ----------
    config : Config
    out : path
    n : int

    Returns
    -------
    DataSet
    """
    path = Path(out)
    if "://" in str(out) or path.is_file():
        raise ValueError(f"out: got {str(out)!r}, expected the path of a folder, new or a data set")
    if not path.exists() or not any(path.iterdir()):
        recipe = config.recipe()
        return DataSet.create(
            path, images=n, shape=recipe.shape, chunk=config.chunk, dtype=config.dtype, attributes=config.attributes()
        )
    data = DataSet(path)
    differences = configs.differences(data, config)
    if differences:
        raise ValueError(f"out: {str(out)!r} is a set of another config: {'; '.join(differences)}")
    return data


def simulate_chunks(recipe, run, devices, data, chunks, done):
    """Simulate and write chunks, in the calling thread and one that writes.

    Parameters
    ----------
    recipe : Recipe
    run : callable
        The `program` of the recipe.
    devices : int
        That it was made for.
    data : DataSet
    chunks : sequence of int
    done : callable
        Called with a number of images whenever so many more have been simulated.
    """
    starts = {chunk: range(*data.bounds(chunk), recipe.batch) for chunk in chunks}
    pieces = [(chunk, start) for chunk in chunks for start in starts[chunk]]
    parts, launches, writes = collections.defaultdict(list), collections.deque(), collections.deque()

    def launch(group):
        # A group that is not full is filled up: the program has one shape.
        first = [start for _, start in group] + [group[-1][1]] * (devices - len(group))
        numbers = np.concatenate([np.arange(start, start + recipe.batch, dtype=np.uint32) for start in first])
        launches.append((group, run(numbers)))

    def collect(writer):
        group, result = launches.popleft()
        result = {name: np.asarray(value) for name, value in result.items()}
        for i, (chunk, start) in enumerate(group):
            count = min(recipe.batch, data.bounds(chunk)[1] - start)
            rows = slice(i * recipe.batch, i * recipe.batch + count)
            parts[chunk].append({name: value[rows] for name, value in result.items()})
            if len(parts[chunk]) == len(starts[chunk]):
                whole = parts.pop(chunk)
                values = {name: np.concatenate([part[name] for part in whole]) for name in ARRAYS}
                writes.append(writer.submit(data.write, chunk, values))
            done(count)
        while len(writes) > _WRITES:
            writes.popleft().result()

    with ThreadPoolExecutor(1) as writer, _first_signal() as received:
        for group in batched(pieces, devices):
            if received:
                break
            launch(group)
            if len(launches) == _LAUNCHES:
                collect(writer)
        while launches and not received:
            collect(writer)
        while writes:
            writes.popleft().result()
    if received:
        signal.raise_signal(received[0])


def record_run(data, found):
    """Store an environment with the set, and warn if it is not the first.

    Parameters
    ----------
    data : DataSet
    found : dict
        From `environment`.
    """
    runs = data.attributes["runs"]
    if found in runs:
        return
    if runs:
        now, before = (dict(configs.flat(x)) for x in (found, runs[0]))
        changed = [
            f"{name} {before.get(name)}, now {value}" for name, value in now.items() if value != before.get(name)
        ]
        warnings.warn(
            f"{data.path} was begun with other versions or on another device ({'; '.join(changed)}): the rest of its "
            "images may differ in the last digits from what they would have been",
            stacklevel=3,
        )
    data.update(runs=[*runs, found])


@contextlib.contextmanager
def _first_signal():
    """A list that gets the first SIGINT or SIGTERM; a second one has its usual effect at once."""
    received, previous = [], {}

    def restore():
        while previous:
            signal.signal(*previous.popitem())

    def note(number, frame):
        received.append(number)
        restore()

    # Signals are for the main thread, and handlers from outside Python cannot be put back.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # One that the process ignores, as under nohup, stays ignored.
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        restore()


def _bar(total, initial, progress):
    if not progress:
        return contextlib.nullcontext(_Silent)
    # On a terminal a bar that moves, in a log file a line every now and then.
    pace = {"dynamic_ncols": True} if sys.stderr.isatty() else {"mininterval": 15, "maxinterval": 60, "ncols": 100}
    tqdm = require("tqdm").tqdm
    return tqdm(total=total, initial=initial, unit=" images", desc="simulate", smoothing=0.05, **pace)


class _Silent:
    @staticmethod
    def update(count):
        pass
