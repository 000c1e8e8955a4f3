"""Blocks that were read once, kept on a local disk up to a stated size."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from weakref import finalize

import numpy as np

from lsr_ext.data.cohort.dataset import BlockSource
from lsr_ext.files import remove_unfinished, written_whole
from lsr_ext.wsi.versions import slide_version

_CHECKSUM_BYTES = 4
_logger = logging.getLogger(__name__)


class CachedBlocks:
    """Keep the pixels of blocks in files: a source for `CohortDataset`.

    A file is written whole or not at all, and has a checksum; a damaged one is read from the source again. What is
    kept stays: blocks are drawn at random, so that replacing old ones by new ones would not help. A slide that
    changed, or of which something else is shown, has other files. Processes that use the folder at the same time
    share the budget.

    Args:
        source: where blocks come from that are not in the cache.
        folder: of the files; created if needed.
        budget_bytes: the most that the files may take.

    Raises:
        ValueError: a negative budget.
    """

    def __init__(self, source: BlockSource, folder: str | Path, budget_bytes: int) -> None:
        if budget_bytes < 0:
            raise ValueError(f"expected a cache of at least 0 bytes, got {budget_bytes}")
        self.source, self.manifest = source, source.manifest
        self.folder, self.budget_bytes = Path(folder), budget_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._slides, self._slide_of = self.manifest.slides()
        self._rectangles = self.manifest.rectangles
        self._sizes = self.manifest.table["size_px"].to_numpy()
        self._versions: dict[int, tuple[int, int]] = {}
        finalize(self, _count_if_alone(self.folder).close)
        self._is_writable = True

    def read(self, row: int) -> np.ndarray:
        """Read a block from its file, otherwise from the source: uint8 (size_px, size_px, 3)."""
        path, size = self._path(row), int(self._sizes[row])
        found = _read_file(path, (size, size, 3))
        if found is not None:
            return found
        pixels = self.source.read(row)
        self._keep(path, pixels)
        return pixels

    def order(self, row: int) -> tuple:
        """Return a key of the source's; blocks in the cache come first, and their slides are not opened."""
        try:
            is_kept = self._path(row).is_file()
        except OSError:  # no slide: reported when the block is read
            is_kept = False
        return (-1, row) if is_kept else self.source.order(row)

    def refresh(self, row: int) -> None:
        """Forget what is held open for the row."""
        self._versions.pop(int(self._slide_of[row]), None)
        self.source.refresh(row)

    def rows_lost_with(self, row: int) -> np.ndarray:
        """Return the rows that cannot be read if this one cannot."""
        return self.source.rows_lost_with(row)

    def _path(self, row: int) -> Path:
        number = int(self._slide_of[row])
        slide = self._slides[number]
        if number not in self._versions:
            self._versions[number] = slide_version(slide.path)
        facts = [str(slide.path.absolute()), *self._versions[number], *self._rectangles[row].tolist()]
        facts += [int(self._sizes[row]), *slide.view.given().items()]
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return self.folder / name[:2] / name

    def _keep(self, path: Path, pixels: np.ndarray) -> None:
        content = np.ascontiguousarray(pixels).tobytes()
        if not self._is_writable:
            return
        try:
            if not self._reserve(len(content) + _CHECKSUM_BYTES):
                return
            with written_whole(path) as temporary:
                temporary.write_bytes(zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little") + content)
        except OSError as error:  # a full disk must not end a training that can do without
            self._is_writable = False
            _logger.warning("%s: no more blocks are kept (%s)", self.folder, error)

    def _reserve(self, size: int) -> bool:
        with _locked(self.folder) as count:
            used = int(count.read())
            if used + size > self.budget_bytes:
                return False
            _write_count(count, used + size)
        return True


def _count_if_alone(folder: Path) -> IO[str]:
    """Count what the files take, unless others use the folder and count already.

    Returns:
        A file; while it is open, the folder is in use.
    """
    users = (folder / ".users").open("w")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for the one who counts
        return users
    with _locked(folder) as count:
        _write_count(count, _files_bytes(folder))
    fcntl.flock(users, fcntl.LOCK_SH)
    return users


@contextmanager
def _locked(folder: Path) -> Iterator[IO[str]]:
    """The file that holds how many bytes are used, for one process at a time."""
    path = folder / ".used"
    path.touch()
    with path.open("r+") as count:
        fcntl.flock(count, fcntl.LOCK_EX)
        yield count


def _write_count(count: IO[str], used: int) -> None:
    count.seek(0)
    count.write(f"{used:020d}")  # always as long, which a full disk permits


def _read_file(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The pixels in a file; None if there is none, or a damaged one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, pixels = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if len(pixels) != np.prod(shape) or zlib.crc32(pixels).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
        path.unlink(missing_ok=True)
        return None
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _files_bytes(folder: Path) -> int:
    """What the files of a folder take; what a killed process left half written is removed."""
    total = 0
    for part in folder.iterdir():
        if part.is_dir():
            remove_unfinished(part)
            total += sum(path.stat().st_size for path in part.iterdir())
    return total
