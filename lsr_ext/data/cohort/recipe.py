"""How a slide is divided into labelled blocks."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from lsr_ext.data.cohort.grid import place_blocks

MPP_AT_40X = 0.25
LEAST_PATCH_PX = 8


@dataclass(frozen=True)
class Recipe:
    """Square patches with a value each, merged into square blocks with a label each.

    Blocks start at the top left of the slide, or at `offset_px`, and are `stride_px` apart; those that would
    extend beyond the slide's edge are left out. With a stride they may overlap.
    Pixels are counted at 40x (0.25 microns per pixel): on a slide with half the magnification, to the nearest
    power of 2, a side has half as many pixels, so 2000 px at 40x are 1000 px on a 20x slide.

    Args:
        patch_px: the side of a patch, in pixels at 40x.
        merge: a block is `merge` x `merge` patches.
        merge_by: a block's value by those of its patches: "maximum", the paper's rule for a classifier's
            probabilities, or "area". None: area where the labels' source knows fractions, otherwise maximum.
        size_px: the side of a block when it is read, in pixels.
        edges: inner edges of the bins of values, increasing: label = the number of edges at or below the value.
        min_tissue: blocks with less tissue, as a share of their area, are left out.
        stride_px: between the corners of neighbouring blocks, in pixels at 40x; None: a block's side.
        offset_px: (x, y) of the first block, in pixels at 40x.

    Raises:
        ValueError: a size below 1, edges that do not increase within (0, 1], `min_tissue` not in [0, 1].
    """

    patch_px: int
    merge: int
    size_px: int
    edges: tuple[float, ...]
    min_tissue: float = 0.0
    merge_by: Literal["maximum", "area"] | None = None
    stride_px: int | None = None
    offset_px: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for name in ("patch_px", "merge", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not self.edges or not np.all(np.diff([0.0, *self.edges]) > 0) or self.edges[-1] > 1:
            raise ValueError(f"expected increasing edges in (0, 1], got {self.edges}")
        if self.merge_by not in (None, "maximum", "area"):
            raise ValueError(f"expected merge_by of maximum or area, got {self.merge_by!r}")
        if self.stride_px is not None and self.stride_px < 1:
            raise ValueError(f"expected stride_px of at least 1, got {self.stride_px}")
        if len(self.offset_px) != 2 or min(self.offset_px) < 0:
            raise ValueError(f"expected offset_px of two numbers from 0, got {self.offset_px}")
        if not 0 <= self.min_tissue <= 1:
            raise ValueError(f"expected min_tissue in [0, 1], got {self.min_tissue}")

    def patch_side(self, mpp: tuple[float, float]) -> int:
        """Return the side of a patch in level-0 pixels of a slide with this resolution.

        Raises:
            ValueError: fewer than 8 pixels, which show no tissue.
        """
        side = self._at_level_0(self.patch_px, mpp)
        if side < LEAST_PATCH_PX:
            raise ValueError(
                f"expected patches of at least {LEAST_PATCH_PX} px, got {side} px: {self.patch_px} px at 40x, on "
                f"a slide of {mpp[0]:.4g} x {mpp[1]:.4g} microns per pixel"
            )
        return side

    def blocks(self, size: tuple[int, int], mpp: tuple[float, float]) -> np.ndarray:
        """Return the blocks of a slide of (width, height): int64 (N, 4) of x, y, width, height, level-0 pixels."""
        side = self.patch_side(mpp) * self.merge
        stride = side if self.stride_px is None else max(self._at_level_0(self.stride_px, mpp), 1)
        return place_blocks(size, side, stride, self.origin(mpp))

    def origin(self, mpp: tuple[float, float]) -> tuple[int, int]:
        """Return the corner of the first block, in level-0 pixels."""
        x, y = self.offset_px
        return self._at_level_0(x, mpp), self._at_level_0(y, mpp)

    def is_regular(self, mpp: tuple[float, float]) -> bool:
        """Return whether the blocks' patches lie on one grid."""
        return self.stride_px is None or self._at_level_0(self.stride_px, mpp) % self.patch_side(mpp) == 0

    def _at_level_0(self, pixels: int, mpp: tuple[float, float]) -> int:
        halvings = round(math.log2(math.sqrt(mpp[0] * mpp[1]) / MPP_AT_40X))
        return round(pixels / 2**halvings)

    @property
    def label_names(self) -> list[str]:
        """The bins in percent: "0-20", ..."""
        limits = [f"{100 * edge:g}" for edge in (0.0, *self.edges, 1.0)]
        return [f"{low}-{high}" for low, high in itertools.pairwise(limits)]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


# The recipe of the paper: section 3.2, Appendix C, and the bins of Table 1.
BREAST_CANCER = Recipe(patch_px=2000, merge=2, size_px=240, edges=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95))
PRESETS = {"breast-cancer": BREAST_CANCER}
