"""Write files and folders so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNFINISHED = ".part"


@contextmanager
def written_whole(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file or a folder under a temporary name, then rename it.

    Args:
        path: the final place; its parent folder is created if needed. A file or folder there is replaced.
        durable: also survive a power failure: flush the file to disk before it is renamed.

    Yields:
        A path of the same name in a temporary folder beside `path`, where the body writes the file or folder. It
        takes the place of `path` when the body ends, and is removed if the body raises.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_whole(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED))
    temporary = folder / path.name
    try:
        yield temporary
        if durable:
            _flush(temporary)
        if path.is_dir():  # a folder cannot be renamed over another
            path.rename(folder / "replaced")
        temporary.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file of these bytes; see `written_whole`."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def remove_unfinished(folder: Path, name: str = "") -> None:
    """Remove what killed runs left in a folder: the temporary folders of `written_whole`.

    Args:
        folder: searched without its subfolders; no other process may be writing there.
        name: only those of files whose name begins so.
    """
    for left in folder.glob(f".{glob.escape(name)}*{_UNFINISHED}"):
        shutil.rmtree(left)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read bytes at an offset: all that were asked for, or up to the end of the file.

    `os.pread` may return fewer, as network disks do.
    """
    parts = []
    while size > 0 and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
