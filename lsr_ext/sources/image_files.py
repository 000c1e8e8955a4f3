"""Find the mask or the dots of each image of a table, by its name and, where names repeat, by its folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lsr_ext.data.beside import folders_beside


def find_image_files(folder: Path, images: Iterable[str], endings: Sequence[str]) -> dict[str, Path]:
    """Find the file `<name><ending>` of each image; images without one are left out.

    It lies in subfolders named as those around the image, or in `folder` itself: of `d/000.png` it is
    `d/000<ending>` or, if there is none, `000<ending>`. Of several endings the first goes before.

    Args:
        folder: of the files.
        images: their names, as in a table.
        endings: what a file's name has in place of the image's suffix.

    Raises:
        ValueError: two images would have one file.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> (folder / "d").mkdir()
        >>> for name in ("d/000_mask.png", "001_mask.png"):
        ...     (folder / name).touch()
        >>> found = find_image_files(folder, ["d/000.png", "e/001.png", "e/002.png"], ["_mask.png"])
        >>> {image: path.relative_to(folder).as_posix() for image, path in found.items()}
        {'d/000.png': 'd/000_mask.png', 'e/001.png': '001_mask.png'}
    """
    found: dict[str, Path] = {}
    image_of: dict[Path, str] = {}
    for image in images:
        path = _find(folder, image, endings)
        if path is None:
            continue
        other = image_of.setdefault(path, image)
        if other != image:
            raise ValueError(f"expected a file for each image, got {path} for both {other!r} and {image!r}")
        found[image] = path
    return found


def _find(folder: Path, image: str, endings: Sequence[str]) -> Path | None:
    name = Path(os.path.normpath(image))
    for within in folders_beside(folder, name):
        for ending in endings:
            if (path := within / f"{name.stem}{ending}").is_file():
                return path
    return None
