"""Images with their pixel truth, whatever they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lsr_ext.metrics import DotSet


@dataclass(frozen=True)
class PixelTruth:
    """Images with their pixel truth, whatever they come from.

    Attributes:
        images: M arrays, uint8 (H, W, 3).
        masks: M arrays of class ids, int64 (H, W).
        names: of the M images.
        classes: the L names of the pixel classes.
        dots: image index -> its cells, where the source has them.
    """

    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    names: Sequence[str]
    classes: Sequence[str]
    dots: Mapping[int, DotSet] = field(default_factory=dict)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of every image, in pixels."""
        return [image.shape[:2] for image in self.images]
