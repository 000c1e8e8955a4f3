"""Decoded images that do not fit into memory: in a file, of which only what is used is read."""

from __future__ import annotations

import fcntl
import itertools
import math
import os
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_SUFFIX = ".arrays"


class Memory:
    """How much memory decoded images and masks may take together, and the folder of the files that take the rest.

    Args:
        budget_bytes: what lists may take; by default as much as they need.
        folder: of the files.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = Memory(0, Path(folder)).keep(np.full((2, 3), value) for value in (4, 5))
        ...     type(kept).__name__, kept[1].tolist()
        ('MappedArrays', [[5, 5, 5], [5, 5, 5]])
    """

    def __init__(self, budget_bytes: float = math.inf, folder: Path = Path()) -> None:
        self.left_bytes, self.folder = budget_bytes, folder

    def keep(self, arrays: Iterable[np.ndarray]) -> Sequence[np.ndarray]:
        """Keep arrays: see `KeptArrays`.

        Raises:
            OSError: a file cannot be written.
        """
        kept = KeptArrays(self)
        for array in arrays:
            kept.append(array)
        return kept.arrays


class KeptArrays:
    """Arrays in a list as long as they fit into the memory; all of them in a file from then on.

    Attributes:
        arrays: those that were appended, a list or `MappedArrays`.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.arrays: list[np.ndarray] | MappedArrays = []

    def append(self, array: np.ndarray) -> None:
        """Keep one more."""
        if isinstance(self.arrays, list):
            self._memory.left_bytes -= array.nbytes
            if self._memory.left_bytes < 0:
                self._memory.left_bytes += array.nbytes + sum(one.nbytes for one in self.arrays)
                self.arrays = MappedArrays(self._memory.folder, self.arrays)
        self.arrays.append(array)


class _Place(NamedTuple):
    """Where an array lies in the file, how it is stored, and what it is."""

    offset: int
    shape: tuple[int, ...]
    stored: np.dtype
    dtype: np.dtype


class MappedArrays(Sequence[np.ndarray]):
    """Arrays in a file that is removed with the sequence; other processes map the same file.

    Args:
        folder: of the file; made where it is not there. Files that killed processes left there are removed.
        arrays: the first ones.
    """

    def __init__(self, folder: Path, arrays: Iterable[np.ndarray] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_left(folder)
        descriptor, self._path = _new_file(folder)
        self._places: list[_Place] = []
        self._end = 0
        weakref.finalize(self, _close, descriptor, self._path, os.getpid())
        for array in arrays:
            self.append(array)

    def append(self, array: np.ndarray) -> None:
        """Write an array behind the others, ids in as few bytes as hold them."""
        stored = array
        if array.dtype.kind in "ui" and array.size and array.min() >= 0:
            stored = array.astype(np.min_scalar_type(array.max()), copy=False)
        with self._path.open("ab") as file:
            stored.tofile(file)
        self._places.append(_Place(self._end, array.shape, stored.dtype, array.dtype))
        self._end += stored.nbytes

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> np.ndarray:
        place = self._places[index]
        mapped = np.memmap(self._path, place.stored, "c", place.offset, place.shape)
        return mapped.astype(place.dtype, copy=False)


class _Chained(Sequence[np.ndarray]):
    def __init__(self, parts: Sequence[Sequence[np.ndarray]]) -> None:
        self._places = [(part, index) for part in parts for index in range(len(part))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> np.ndarray:
        part, place = self._places[index]
        return part[place]


def chain_arrays(parts: Sequence[Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
    """Several sequences as one: a list if all are lists."""
    if all(isinstance(part, list) for part in parts):
        return list(itertools.chain(*parts))
    return _Chained(parts)


def _new_file(folder: Path) -> tuple[int, Path]:
    """A file that others leave alone while this process lives."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=_SUFFIX)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if Path(name).exists():  # otherwise it was taken for one that was left, before it was locked
            return descriptor, Path(name)
        os.close(descriptor)


def _close(descriptor: int, path: Path, owner: int) -> None:
    if os.getpid() != owner:  # a forked process ends before the one that made the file
        return
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
