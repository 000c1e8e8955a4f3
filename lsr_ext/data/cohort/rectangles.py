"""Blocks whose places are given, as tools that find tissue write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lsr_ext.data.beside import find_named
from lsr_ext.data.cohort.grid import Patches
from lsr_ext.data.cohort.recipe import Recipe
from lsr_ext.data.csv_files import read_rows
from lsr_ext.wsi import Slide

_COLUMNS = ("x", "y", "width", "height")
_FARTHEST_PX = 2**31


class Rectangles:
    """Blocks of slides from CSV files with the columns x, y, width and height, in level-0 pixels.

    Args:
        path: one CSV with a column slide too, the slide's file name with or without its suffix; or a folder with a
            `<name>.csv` per slide. Where names of slides repeat, folders tell them apart: `A/1` and `B/1`.

    Raises:
        FileNotFoundError: neither file nor folder.
        ValueError: a wrong column or number, or a block that is not square or occurs twice; the message names file
            and row.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._of: dict[str, dict[tuple[int, ...], None]] = {}
        if not self.path.exists():
            raise FileNotFoundError(f"expected a CSV of rectangles, or a folder of them, found none at {path}")
        if self.path.is_dir():
            for file in sorted(self.path.rglob("*.csv")):
                self._read(file, file.relative_to(self.path).with_suffix("").as_posix())
        else:
            self._read(self.path, None)

    def labels_of(self, slide: Path) -> str:
        """Return what names a slide's blocks.

        Raises:
            ValueError: there are none, or it cannot be decided which.
        """
        names = find_named(self._of, slide)
        if len(names) != 1:
            found = ", ".join(names) or "none"
            raise ValueError(f"{self.path}: expected rectangles of {slide.name}, found {found}")
        return names[0]

    def of(self, slide: Path) -> np.ndarray:
        """Return the blocks of a slide: int64 (N, 4) of x, y, width, height.

        Raises:
            ValueError: there are none, or it cannot be decided which.
        """
        return np.array(list(self._of[self.labels_of(slide)]), np.int64)

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
        required = _COLUMNS if slide else ("slide", *_COLUMNS)
        for where, fields in read_rows(path, required):
            rectangle = _parse(fields, where)
            own = self._of.setdefault(slide or Path(fields["slide"]).as_posix(), {})
            if rectangle in own:
                raise ValueError(f"{where}: the block {list(rectangle)} occurs a second time")
            own[rectangle] = None


def place_patches(slide: Slide, recipe: Recipe, given: Rectangles | None) -> Patches:
    """The blocks of a slide, given or the recipe's, and their patches.

    Raises:
        ValueError: of `Rectangles.inside`, or patches of too few pixels.
        MissingResolutionError: the resolution of the slide is unknown.
    """
    mpp = slide.known_mpp()
    if given is not None:
        return Patches(given.inside(slide.path, slide.size), recipe.merge)
    origin = recipe.origin(mpp) if recipe.is_regular(mpp) else None
    return Patches(recipe.blocks(slide.size, mpp), recipe.merge, origin)


def _parse(fields: dict[str, str], where: str) -> tuple[int, ...]:
    try:
        x, y, width, height = (_whole(fields[name]) for name in _COLUMNS)
    except ValueError:
        raise ValueError(f"{where}: expected whole x, y, width and height, got {fields}") from None
    if width < 1 or width != height:
        raise ValueError(f"{where}: expected a square block, got {width} x {height}")
    return x, y, width, height


def _whole(field: str) -> int:
    """A whole number, also written as 12.0."""
    number = float(field)
    if not number.is_integer() or abs(number) > _FARTHEST_PX:
        raise ValueError(field)
    return int(number)
