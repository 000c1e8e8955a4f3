"""What every source is brought to: blocks to train on, held-out blocks, and p(c_l | z)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch.utils.data import Dataset

from lsr_ext.data import BlockCollection
from lsr_ext.distributions import CountDistribution

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet
    from lsr_ext.metrics import DotSet

TRUTH, SECOND_RATER = "truth", "second rater"


class TrainingBlocks(Protocol):
    """The training blocks of a source, in memory or not; `lsr_ext.data.BlockCollection` is one.

    Attributes:
        labels: int64 (N,), or (N, L) for one label per class; -1 = unknown. None: an item holds blocks of several
            labels, and items are drawn at random.
        known_fractions: the class fractions that each block is known to have, (N, L), NaN = unknown; items then
            have "fractions" too. None: there are labels alone.
        classes: the L names of the pixel classes.
        channels: of the images.
        collate: makes a batch of a list of items.
    """

    labels: np.ndarray | None
    known_fractions: np.ndarray | None
    classes: Sequence[str]
    channels: int
    collate: Callable[[list], dict]

    def __len__(self) -> int:
        """N, the number of items."""

    def block_images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """The pixels of those of these items that can be read: uint8, or floats in [0, 1], (H, W, C)."""

    def dataset(self, augment: bool, report: Path | None = None) -> Dataset:
        """Map-style: dicts of "image" float32 (C, H, W), "label", and "mask" int64 (H, W) where it has masks.

        Where an item holds several blocks, "block_ids" int32 (H, W) tells which block each pixel is of. What
        cannot be read is listed in `report`.
        """

    def without_masks(self) -> TrainingBlocks:
        """The same blocks, for a method that may see no pixel labels."""

    def expected_area(self, distribution: CountDistribution) -> np.ndarray:
        """The share of each class among all training pixels by their labels, float64 (L,) of sum 1."""


@dataclass(frozen=True)
class TrainingData:
    """The blocks of both splits, p(c_l | z), and the class that two-class scores are of.

    Held-out blocks do not overlap. Pixel masks are there for supervision and scoring; the label
    super-resolution losses are not given them.

    Attributes:
        train: the training blocks.
        test: the blocks of the held-out split that is scored.
        distribution: p(c_l | z).
        foreground: the index of the class that two-class scores are of.
        annotated: indices of the training blocks that `distribution` was estimated from.
        dots: rater -> image index -> its dots, in pixels of the image; the first rater's are the truth.
        stains: of the colour baselines.
        low_resolution: image index -> the low-resolution model's map of it, where the source has one.
        mpp: microns per pixel of the blocks; None: not known.
    """

    train: TrainingBlocks
    test: BlockCollection
    distribution: CountDistribution
    foreground: int
    annotated: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    dots: Mapping[str, Mapping[int, DotSet]] = field(default_factory=dict)
    stains: StainSet | None = None
    low_resolution: Mapping[int, np.ndarray] | None = None
    mpp: float | None = None

    def readable(self) -> TrainingData:
        """The same without held-out blocks that cannot be read."""
        return replace(self, test=self.test.readable())

    @property
    def expected_area(self) -> np.ndarray:
        """The share of each class among all training pixels by their labels, float64 (L,) of sum 1."""
        return self.train.expected_area(self.distribution)

    @property
    def block_size_px(self) -> int:
        """The side of a block, in pixels."""
        return self.test.blocks[0].height

    @property
    def cell_classes(self) -> dict[str, int]:
        """The classes of the dots, all but the background, and their ids in a map."""
        return {name: index for index, name in enumerate(self.test.classes) if index}


def foreground_index(name: str | None, classes: Sequence[str]) -> int:
    """The index of the class called `name`, the last one for None.

    Raises:
        ValueError: no class of that name.
    """
    if name is None:
        return len(classes) - 1
    if name not in classes:
        raise ValueError(f"data.foreground must be one of the classes {', '.join(classes)}, got {name!r}")
    return list(classes).index(name)
