"""Decoded images that do not fit into memory: in a file, of which only what is used is read."""

from __future__ import annotations

import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_SUFFIX = ".arrays"


class Memory(NamedTuple):
    """How much memory decoded images may take, and the folder of the file that takes the rest.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = Memory(0, Path(folder)).keep(np.full((2, 3), value) for value in (4, 5))
        ...     type(kept).__name__, kept[1].tolist()
        ('MappedArrays', [[5, 5, 5], [5, 5, 5]])
    """

    budget_bytes: int
    folder: Path

    def keep(self, arrays: Iterable[np.ndarray]) -> Sequence[np.ndarray]:
        """Keep arrays in a list, or all of them in a file as soon as they take more than the budget.

        Raises:
            OSError: the file cannot be written.
        """
        kept: list[np.ndarray] | MappedArrays = []
        used = 0
        for array in arrays:
            used += array.nbytes
            if used > self.budget_bytes and isinstance(kept, list):
                kept = MappedArrays(self.folder, kept)
            kept.append(array)
        return kept


class MappedArrays(Sequence[np.ndarray]):
    """Arrays in a file that is removed with the sequence; other processes map the same file.

    Args:
        folder: of the file; made where it is not there. Files that killed processes left there are removed.
        arrays: the first ones.
    """

    def __init__(self, folder: Path, arrays: Iterable[np.ndarray] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_left(folder)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=_SUFFIX)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # held as long as this process lives
        self._path = Path(name)
        self._places: list[tuple[int, tuple[int, ...], np.dtype]] = []
        self._end = 0
        weakref.finalize(self, _close, descriptor, self._path)
        for array in arrays:
            self.append(array)

    def append(self, array: np.ndarray) -> None:
        """Write an array behind the others."""
        with self._path.open("ab") as file:
            array.tofile(file)
        self._places.append((self._end, array.shape, array.dtype))
        self._end += array.nbytes

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> np.ndarray:
        offset, shape, dtype = self._places[index]
        return np.memmap(self._path, dtype, "r", offset, shape)


def _close(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)


def _remove_left(folder: Path) -> None:
    """Remove the files that no process holds any more."""
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except (BlockingIOError, FileNotFoundError):
            continue  # in use, or removed meanwhile
