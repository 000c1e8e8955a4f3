"""Group the files of DICOM slides: each is a series of files, of which one opens them all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def group_dicom(paths: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Choose of each series in a folder the file with the most pixels.

    Returns:
        These files, and for each other file why it is no slide.

    Raises:
        ModuleNotFoundError: pydicom is not installed; it is in the extra `lsr_ext[wsi]`.
    """
    series: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
    others: dict[Path, str] = {}
    for path in sorted(paths):
        found = _volume(path)
        if isinstance(found, str):
            others[path] = found
        else:
            series.setdefault((path.parent, found[0]), []).append((found[1], path))
    chosen = []
    for files in series.values():
        files.sort(key=lambda one: (-one[0], one[1]))
        chosen.append(files[0][1])
        others |= {path: f"a level of {files[0][1].name}" for _, path in files[1:]}
    return chosen, others


def _volume(path: Path) -> tuple[str, int] | str:
    """The series of a file and its number of pixels, or why it is no level of a slide."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    tags = ["SeriesInstanceUID", "ImageType", "TotalPixelMatrixColumns", "TotalPixelMatrixRows"]
    try:
        read = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except (InvalidDicomError, OSError, ValueError, KeyError, EOFError) as error:
        return f"not a readable DICOM file ({error})"
    kinds = [str(kind) for kind in read.get("ImageType") or []]  # an empty element is None
    pixels = int(read.get("TotalPixelMatrixColumns") or 0) * int(read.get("TotalPixelMatrixRows") or 0)
    if "VOLUME" not in kinds or not pixels:
        return f"no level of a slide but {'/'.join(kinds) or 'another image'}"
    return str(read.get("SeriesInstanceUID", path.name)), pixels
