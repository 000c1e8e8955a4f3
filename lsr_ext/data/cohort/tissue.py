"""Where the tissue of a cohort's slides is: found on a thumbnail, or in masks of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lsr_ext.data.beside import check_aspect, find_beside
from lsr_ext.data.images import read_mask
from lsr_ext.wsi import Slide, tissue_mask
from lsr_ext.wsi.tissue import TissueMask

_SUFFIXES = (".npy", ".png", ".tif", ".tiff")


@dataclass(frozen=True)
class TissueFinder:
    """Finds the tissue of slides.

    Args:
        folder: masks over whole slides, NAME.png, `.tif` or `.npy`, not 0 for tissue; None: `tissue_mask`.
        threshold: as of `tissue_mask`.
        keep_pen: as of `tissue_mask`.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    folder: Path | None = None
    threshold: float | None = None
    keep_pen: bool = False

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise FileNotFoundError(f"expected a folder of tissue masks, found none at {self.folder}")

    def find(self, slide: Slide) -> TissueMask:
        """Return the tissue of a slide.

        Raises:
            ValueError: its mask is missing or has another aspect.
        """
        if self.folder is None:
            return tissue_mask(slide, threshold=self.threshold, keep_pen=self.keep_pen)
        path = self._path(slide.path)
        mask = read_mask(path)
        check_aspect(path, mask.shape, slide.path.name, slide.size)
        return TissueMask(mask != 0, slide.size)

    def fingerprint(self, slide: Path) -> list[object]:
        """Return facts that change when the tissue of the slide may have changed."""
        if self.folder is None:
            return [self.threshold, self.keep_pen]
        found = self._path(slide).stat()
        return [found.st_size, found.st_mtime_ns]

    def _path(self, slide: Path) -> Path:
        path = find_beside(self.folder, slide, _SUFFIXES)
        if path is None:
            raise ValueError(f"{self.folder}: expected a tissue mask of {slide.name}, found none")
        return path
