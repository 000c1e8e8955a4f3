"""Which state of a slide something was made of: a slide of some formats lies in several files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_HAMAMATSU, _OF_HAMAMATSU = (".vms", ".vmu"), (".jpg", ".ngr", ".opt")
_PIECES, _PIECE_BYTES = 16, 4096


def slide_version(path: Path) -> tuple[int, int]:
    """Return the bytes of a slide's files and the time of their last change in ns.

    The tiles of NAME.mrxs are in the folder NAME, those of NAME.vms and NAME.vmu in images beside it whose names
    begin with NAME: they count too. Of a DICOM slide only the file itself counts.

    Raises:
        FileNotFoundError: there is no such slide.
    """
    found = [path.stat(), *(file.stat() for file in _files_of_tiles(path) if file.is_file())]
    return sum(each.st_size for each in found), max(each.st_mtime_ns for each in found)


def sample_digest(path: Path) -> str:
    """Return the SHA-256 of the sizes of a slide's files and of pieces of them: the same for a copy of the slide.

    Raises:
        FileNotFoundError: there is no such slide.
    """
    found = hashlib.sha256()
    for file in [path, *sorted(file for file in _files_of_tiles(path) if file.is_file())]:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            found.update(size.to_bytes(8, "little"))
            for piece in range(_PIECES):
                opened.seek(max(size - _PIECE_BYTES, 0) * piece // (_PIECES - 1))
                found.update(opened.read(_PIECE_BYTES))
    return found.hexdigest()


def _files_of_tiles(path: Path) -> Iterator[Path]:
    suffix = path.suffix.lower()
    if suffix == ".mrxs" and path.with_suffix("").is_dir():
        yield from path.with_suffix("").iterdir()
    if suffix in _HAMAMATSU:
        beside = (file for file in path.parent.iterdir() if file.suffix.lower() in _OF_HAMAMATSU)
        yield from (file for file in beside if file.name.startswith(path.stem))
