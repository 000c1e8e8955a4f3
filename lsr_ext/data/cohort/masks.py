"""Pixel truth of a cohort's blocks, from masks that cover whole slides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from lsr_ext.data.beside import check_aspect, find_beside
from lsr_ext.data.cohort.label_sources import MAP_SUFFIXES
from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.data.images import read_mask

_MASKS_HELD = 4


class SlideMasks:
    """A folder with a mask of class ids per slide, of any resolution, that covers the whole slide.

    Args:
        folder: of `<name of the slide><suffix>.png`, `.tif` or `.npy`, which `read_mask` reads; see `find_beside`.
        class_of_id: the class index of each id 0, 1, ...
        suffix: what a mask's name has after its slide's.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder: str | Path, class_of_id: Sequence[int], suffix: str = "") -> None:
        self.folder, self.suffix = Path(folder), suffix
        self._class_of_id = np.array(class_of_id)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"expected a folder of masks, found none at {folder}")

    def path(self, slide: Path) -> Path | None:
        """The slide's mask; None where there is none."""
        return find_beside(self.folder, slide, MAP_SUFFIXES, self.suffix)

    def describe(self, slides: Sequence[Path]) -> list[object]:
        """What changes with the slides' masks: the classes of their ids, and the sizes of their files."""
        paths = map(self.path, slides)
        return [self._class_of_id.tolist(), *(None if path is None else path.stat().st_size for path in paths)]

    def read(self, slide: CohortSlide, rectangle: np.ndarray, size_px: int) -> np.ndarray:
        """The classes at the centres of a block's pixels.

        Args:
            slide: the slide.
            rectangle: x, y, width, height in level-0 pixels.
            size_px: the side that the block is read at.

        Returns:
            int64 (size_px, size_px).

        Raises:
            FileNotFoundError: the slide has no mask.
            ValueError: a mask of another aspect than the slide, or ids that are of no class.
        """
        path = self.path(slide.path)
        if path is None:
            raise FileNotFoundError(f"expected a mask of {slide.path.name} in {self.folder}, found none")
        mask, (width, height) = _open(path, slide, len(self._class_of_id))
        x, y, block_width, block_height = rectangle.tolist()
        centres = (np.arange(size_px) + 0.5) / size_px
        rows = ((y + centres * block_height) * mask.shape[0] / height).astype(np.int64)
        columns = ((x + centres * block_width) * mask.shape[1] / width).astype(np.int64)
        ids = mask[np.ix_(rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1))]
        return self._class_of_id[ids].astype(np.int64)


@lru_cache(_MASKS_HELD)
def _open(path: Path, slide: CohortSlide, num_classes: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A slide's mask, uint8 or wider (H, W), and the slide's (width, height)."""
    mask, size = read_mask(path), slide.open().size
    if mask.min() < 0 or mask.max() >= num_classes:
        raise ValueError(f"{path}: expected class ids in [0, {num_classes}), got {mask.min()} to {mask.max()}")
    check_aspect(path, mask.shape, slide.path.name, size)
    return (mask.astype(np.uint8) if num_classes <= 256 else mask), size
