"""Load the Numba kernels at their first use, and print a message while they compile."""

from __future__ import annotations

import importlib
from functools import lru_cache
from time import perf_counter
from types import ModuleType
from typing import Any


@lru_cache
def load_kernels(name: str) -> ModuleType:
    """Import the module of kernels `lsr_ext.metrics._<name>`.

    Raises:
        ModuleNotFoundError: numba is missing; the message names the extra.
    """
    try:
        _tell_compilations()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the module {error.name!r} is missing: pip install lsr_ext[metrics]", name=error.name
        ) from error
    return importlib.import_module(f"lsr_ext.metrics._{name}")


@lru_cache
def _tell_compilations() -> None:
    """Print a message for each kernel that is compiled from now on; kernels from the disk cache print nothing."""
    from numba.core import event
    from rich.console import Console

    console = Console(stderr=True)

    class Progress(event.Listener):
        announced = False
        depth = 0
        started = 0.0

        def on_start(self, event: Any) -> None:
            if not _is_ours(event):
                return
            if not self.announced:
                console.print("lsr_ext: compiling the kernels of the scores; the next run finds them on disk")
                self.announced = True
            if self.depth == 0:
                self.started = perf_counter()
            self.depth += 1

        def on_end(self, event: Any) -> None:
            if not _is_ours(event):
                return
            self.depth -= 1
            if self.depth == 0:
                name = event.data["dispatcher"].__name__
                console.print(f"lsr_ext: compiled {name} in {perf_counter() - self.started:.1f} s")

    event.register("numba:compile", Progress())


def _is_ours(event: Any) -> bool:
    return event.data["dispatcher"].py_func.__module__.startswith("lsr_ext.")
