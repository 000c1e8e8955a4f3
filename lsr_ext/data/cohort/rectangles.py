"""Blocks whose places are given, as tools that find tissue write them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

_COLUMNS = ("x", "y", "width", "height")


class Rectangles:
    """Blocks of slides from CSV files with the columns x, y, width and height, in level-0 pixels.

    Args:
        path: one CSV with a column slide too, the slide's file name with or without its suffix; or a folder with a
            `<name>.csv` per slide.

    Raises:
        FileNotFoundError: neither file nor folder.
        ValueError: a wrong column or number, or a block that is not square; the message names file and row.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._of: dict[str, list[list[int]]] = {}
        if not self.path.exists():
            raise FileNotFoundError(f"expected a CSV of rectangles, or a folder of them, found none at {path}")
        if self.path.is_dir():
            for file in sorted(self.path.glob("*.csv")):
                self._read(file, file.stem)
        else:
            self._read(self.path, None)

    def of(self, slide: Path) -> np.ndarray:
        """Return the blocks of a slide: int64 (N, 4) of x, y, width, height.

        Raises:
            ValueError: there are none.
        """
        found = self._of.get(slide.name) or self._of.get(slide.stem)
        if not found:
            raise ValueError(f"{self.path}: expected rectangles of {slide.name}, found none")
        return np.array(found, np.int64)

    def inside(self, slide: Path, size: tuple[int, int]) -> np.ndarray:
        """Return the same; all must lie on the slide of (width, height).

        Raises:
            ValueError: one does not.
        """
        found = self.of(slide)
        outside = (found[:, :2] < 0).any(1) | (found[:, :2] + found[:, 2:] > np.array(size)).any(1)
        if outside.any():
            raise ValueError(
                f"{self.path}: {int(outside.sum())} of {len(found)} rectangles extend beyond {slide.name}, "
                f"{size[0]} x {size[1]} px; the first: {found[outside][0].tolist()}"
            )
        return found

    def _read(self, path: Path, slide: str | None) -> None:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            expected = {*_COLUMNS, *([] if slide else ["slide"])}
            if not expected <= set(reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ())
                raise ValueError(f"{path}: expected columns {', '.join(sorted(expected))}, got {found}")
            for fields in reader:
                rectangle = _parse(fields, f"{path}, row {reader.line_num}")
                self._of.setdefault(slide or Path(fields["slide"] or "").name, []).append(rectangle)


def _parse(fields: dict[str, str | None], where: str) -> list[int]:
    try:
        x, y, width, height = (int(float(fields[name] or "")) for name in _COLUMNS)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{where}: expected whole x, y, width and height, got {fields}") from None
    if width < 1 or width != height:
        raise ValueError(f"{where}: expected a square block, got {width} x {height}")
    return [x, y, width, height]
