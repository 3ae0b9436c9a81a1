"""What LENSKERN_AUTOLENS=1 does: lenskern is registered with autoarray as soon as a program has imported it.

lenskern_startup.pth, beside this file, calls `start` in every interpreter that has the variable. Nothing here imports
JAX before the program does: JAX reads its configuration when it is imported, and autoarray writes it first.
"""

import importlib.abc
import importlib.util
import os
import sys

PACKAGES = ("autoarray", "autogalaxy", "autolens")
FLAG = "--xla_cpu_multi_thread_eigen"


def start():
    """Watch for autoarray, and keep XLA's Fourier transforms on the CPU from waiting for each other."""
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=false".strip()
    sys.meta_path.insert(0, _Watch())


class _Watch(importlib.abc.MetaPathFinder):
    """Finds nothing by itself, but registers lenskern when the outermost of the packages has been imported."""

    def __init__(self):
        self._seen = set()
        self._depth = 0

    def find_spec(self, name, path=None, target=None):
        if name not in PACKAGES or name in self._seen:
            return None
        self._seen.add(name)
        spec = importlib.util.find_spec(name)
        execute = getattr(getattr(spec, "loader", None), "exec_module", None)
        if execute is not None:

            def exec_module(module):
                self._depth += 1
                try:
                    execute(module)
                except BaseException:
                    self._seen.discard(name)
                    raise
                finally:
                    self._depth -= 1
                if self._depth == 0:
                    from lenskern.interop import autoarray

                    autoarray.register()

            spec.loader.exec_module = exec_module
        return spec
