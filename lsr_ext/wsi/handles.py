"""The resources that all slides of a process share: open handles, decoded tiles and decoding threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from lsr_ext.tiff_directories import is_tiff
from lsr_ext.wsi.backend import WHOLE_FILE, Backend, FileKey, View
from lsr_ext.wsi.cache import Cache
from lsr_ext.wsi.errors import CorruptSlideError, IncompleteLevelError, UnsupportedSlideError

DEFAULT_CACHE_BYTES = 32 * 2**20  # about the size of a processor's cache: larger values made reads slower
DEFAULT_HANDLES = 64
DEFAULT_MAX_READ_BYTES = 2**30

tiles = Cache(DEFAULT_CACHE_BYTES, size=lambda tile: 1 if tile is None else tile.nbytes)
handles = Cache(DEFAULT_HANDLES, size=lambda handle: 1)
max_read_bytes = DEFAULT_MAX_READ_BYTES


def configure(
    *, cache_bytes: int | None = None, open_handles: int | None = None, read_limit_bytes: int | None = None
) -> None:
    """Set the limits of this process; None leaves a limit unchanged.

    Args:
        cache_bytes: memory for decoded tiles of all slides; 32 MiB by default. To scan a wide slide row by row,
            give enough for a row of tiles. OpenSlide's own tiles, of all slides together, get as much again.
        open_handles: number of slides that are kept open, 64 by default; further slides are closed after use.
        read_limit_bytes: memory of one read, 1 GiB by default; above it `Slide.read` raises `ReadTooLargeError`.

    A process that is forked later has the same limits; a spawned process has the defaults.

    Raises:
        ValueError: a limit below 0.

    Example:
        >>> configure(cache_bytes=32 * 2**20, open_handles=64)
    """
    global max_read_bytes
    if cache_bytes is not None:
        tiles.set_budget(cache_bytes)
    if open_handles is not None:
        handles.set_budget(open_handles)
    if read_limit_bytes is not None:
        if read_limit_bytes < 0:
            raise ValueError(f"expected a limit of at least 0 bytes, got {read_limit_bytes}")
        max_read_bytes = read_limit_bytes


def file_key(path: Path, backend: str, view: View = WHOLE_FILE) -> FileKey:
    """Return the key of the file in its present state.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a slide, found none at {path}")
    found = path.stat()
    return FileKey(str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, backend, view)


def handle(key: FileKey) -> Backend:
    """Return the open file of a key."""
    return handles.get(key, lambda: open_backend(Path(key.path), key.backend, key.view))


def forget(key: FileKey) -> None:
    """Close a file and drop its tiles, so that the next read opens it again."""
    handles.discard(lambda held: held == key)
    tiles.discard(lambda held: held[0] == key)


def open_backend(path: Path, backend: str, view: View = WHOLE_FILE) -> Backend:
    """Open a file with one backend, or choose one by the file ("auto").

    OpenSlide reads formats whose tiles must be stitched or that need more than the TIFF tags. "tiff" reads plain
    tiled TIFF and SVS fast, "planes" every other TIFF, "picture" PNG and JPEG. A file that one of these refuses is
    not passed to OpenSlide, which would show another image, or other colours.

    Raises:
        UnsupportedSlideError: no backend reads it.
        CorruptSlideError: the file is damaged.
    """
    if backend == "tiff":
        return _tiff_backend(path, view)
    if backend == "planes":
        return _planes_backend(path, view)
    vendor = _openslide_vendor(path)
    if backend == "auto" and is_tiff(path) and vendor in (None, "aperio", "generic-tiff"):
        return _open_tiff(path, view)
    if view != WHOLE_FILE:
        raise UnsupportedSlideError(f"{path}: expected a TIFF of several images or channels, got {view}")
    if backend == "picture" or (backend == "auto" and vendor is None):
        from lsr_ext.wsi.pictures import PictureBackend, is_picture

        if backend == "picture" or is_picture(path):
            return PictureBackend(path)
    return _openslide_backend(path)


def _open_tiff(path: Path, view: View) -> Backend:
    try:
        return _tiff_backend(path, view)
    except IncompleteLevelError:
        return _openslide_backend(path)
    except UnsupportedSlideError:
        return _planes_backend(path, view)


# Each backend is imported where it is needed: it takes packages and time that the others do not.
def _tiff_backend(path: Path, view: View) -> Backend:
    from lsr_ext.wsi.tiff import TiffBackend

    return TiffBackend(path, view)


def _planes_backend(path: Path, view: View) -> Backend:
    from lsr_ext.wsi.planes import PlanesBackend

    return PlanesBackend(path, view)


def _openslide_backend(path: Path) -> Backend:
    from lsr_ext.wsi.openslide import OpenSlideBackend

    return OpenSlideBackend(path)


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Do `map` with torch.get_num_threads() threads, including this one; results are in order.

    Each thread gets its share at the start. If it is called from one of these threads, it runs in that thread
    alone, because waiting for the others could be a deadlock.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2 or getattr(_thread, "is_ours", False):
        return [function(item) for item in items]

    def work(share: Sequence[Any]) -> list[Any]:
        before, _thread.is_ours = getattr(_thread, "is_ours", False), True
        try:
            return [function(item) for item in share]
        finally:
            _thread.is_ours = before

    pool = _pool(torch.get_num_threads())
    others = [pool.submit(work, items[i::threads]) for i in range(1, threads)]
    results: list[Any] = [None] * len(items)
    try:
        results[::threads] = work(items[::threads])
        for i, other in enumerate(others, start=1):
            # Do here what has not begun: the pool's threads may be waiting for exactly this.
            if other.cancel():
                results[i::threads] = work(items[i::threads])
    finally:
        wait([other for other in others if not other.cancel()])
    for i, other in enumerate(others, start=1):
        if not other.cancelled():
            results[i::threads] = other.result()
    return results


def _openslide_vendor(path: Path) -> str | None:
    import openslide

    try:
        return openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError as error:
        raise CorruptSlideError(f"{path}: {error}") from error


_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()
_thread = threading.local()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _pools_lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, "lsr_ext.wsi")
        return _pools[threads]


def _after_fork_in_child() -> None:
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()  # their threads exist only in the parent


os.register_at_fork(after_in_child=_after_fork_in_child)
