"""Find an image's file, or its rows of a table, by its name and, where names repeat, by its folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


def folders_beside(folder: Path, path: Path) -> Iterator[Path]:
    """Subfolders of `folder` named as those around a path, the most of them first; `folder` itself last.

    Example:
        >>> [within.as_posix() for within in folders_beside(Path("masks"), Path("a/b/1.png"))]
        ['masks/a/b', 'masks/b', 'masks']
    """
    around = [part for part in path.parent.parts if part not in (os.pardir, path.anchor)]
    for start in range(len(around) + 1):
        yield folder.joinpath(*around[start:])


def find_beside(folder: Path, slide: Path, suffixes: Sequence[str], ending: str = "") -> Path | None:
    """Find `<name><ending><suffix>` of a slide; None: there is none.

    The file lies in `folder` itself, or in subfolders named as those around the slide: of `scans/A/1.svs` it is
    `A/1.png` or, if there is none, `1.png`. The name is the slide's without its suffix, also without ".ome", and
    for DICOM also the name of its folder.

    Raises:
        ValueError: several files; the message names them.
    """
    names = [slide.stem, slide.stem.removesuffix(".ome")]
    if slide.suffix.lower() == ".dcm":
        names.append(slide.parent.name)
    for within in folders_beside(folder, slide.absolute()):
        candidates = dict.fromkeys(within / f"{name}{ending}{suffix}" for name in names for suffix in suffixes)
        found = [path for path in candidates if path.is_file() and path.absolute() != slide.absolute()]
        if len(found) > 1:
            raise ValueError(f"expected one file of labels of {slide.name}, found {', '.join(map(str, found))}")
        if found:
            return found[0]
    return None


def find_named(names: Iterable[str], slide: Path) -> list[str]:
    """Of paths in a table, those that name a slide: with its suffix or without, and most of its folders in common.

    One, as a rule; several: it cannot be decided.
    """
    agreeing: dict[int, list[str]] = {}
    for name in names:
        if Path(name).name in (slide.name, slide.stem):
            agreeing.setdefault(_common_folders(Path(name).parent, slide.absolute().parent), []).append(name)
    return agreeing.get(max(agreeing, default=0), [])


def check_aspect(path: Path, shape: tuple[int, int], slide: str, size: tuple[int, int]) -> None:
    """Refuse a map of a whole slide that has another aspect.

    Args:
        path: the map, for the message.
        shape: its (rows, columns).
        slide: name of the slide.
        size: (width, height) of the slide in level-0 pixels.

    Raises:
        ValueError: the aspects differ by more than rounding each side to a pixel of the map.
    """
    if abs(shape[1] * size[1] - shape[0] * size[0]) <= max(size):
        return
    scale = size[0] / shape[1]
    raise ValueError(
        f"{path}: expected the aspect of {slide}, {size[0]} x {size[1]} px, got {shape[1]} x {shape[0]} px, which "
        f"cover {size[0]} x {shape[0] * scale:.0f} px; a map must cover the whole slide, without padding"
    )


def _common_folders(folder: Path, around: Path) -> int:
    """How many folders at the end of two paths are the same."""
    pairs = zip(reversed(folder.parts), reversed(around.parts), strict=False)
    same = [one == other for one, other in pairs]
    return same.index(False) if False in same else len(same)
