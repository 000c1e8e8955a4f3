"""What every source is brought to: blocks to train on, held-out blocks, and p(c_l | z)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch.utils.data import Dataset

from lsr_ext.data import BlockCollection, Targets
from lsr_ext.distributions import CountDistribution

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet
    from lsr_ext.metrics import DotSet

_logger = logging.getLogger(__name__)
TRUTH, SECOND_RATER = "truth", "second rater"


class TrainingBlocks(Protocol):
    """The training blocks of a source, in memory or not; `lsr_ext.data.BlockCollection` is one.

    Attributes:
        labels: int64 (N,), or (N, L) for one label per class; -1 = unknown. None: an item holds blocks of several
            labels, and items are drawn at random.
        targets: the class fractions that each block is known to have; items then have "fraction" and
            "fraction_std" too. None: there are labels alone.
        classes: the L names of the pixel classes.
        channels: of the images.
        collate: makes a batch of a list of items.
        masks: the pixel truth; None: there is none.
        reads_files: whether the pixels are read as they are needed; they are in memory otherwise.
    """

    labels: np.ndarray | None
    targets: Targets | None
    classes: Sequence[str]
    channels: int
    collate: Callable[[list], dict]
    masks: object | None
    reads_files: bool

    def __len__(self) -> int:
        """N, the number of items."""

    def block_images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """The pixels of those of these items that can be read: uint8, or floats in [0, 1], (H, W, C)."""

    def dataset(self, augment: bool, report: Path | None = None, resumed: bool = False) -> Dataset:
        """Map-style: dicts of "image" float32 (C, H, W), "label", and "mask" int64 (H, W) where it has masks.

        Where an item holds several blocks, "block_ids" int32 (H, W) tells which block each pixel is of. What
        cannot be read is listed in `report`; a resumed training leaves out what is listed there already.
        """

    def digest(self) -> str:
        """A text that changes when what is learnt from these blocks may change; not when they are moved."""

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
        validation: held-out blocks to validate on while training, where that was asked for.
        limit: the largest share of the held-out blocks that may be unreadable, in [0, 1].
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
    validation: TrainingBlocks | None = None
    limit: float = 0.0

    def readable(self) -> TrainingData:
        """The same without held-out blocks that cannot be read.

        Raises:
            ValueError: they are more than `limit` allows.
        """
        readable = self.test.readable()
        lost, total = len(self.test) - len(readable), len(self.test)
        if lost > self.limit * total:
            raise ValueError(
                f"{lost} of {total} held-out blocks cannot be read, more than the limit of {self.limit:.2%}"
            )
        if lost:
            _logger.warning("%d of %d held-out blocks cannot be read, and are not scored", lost, total)
        return replace(self, test=readable)

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


def describe_labels(data: TrainingData) -> list[str]:
    """What each label was bound to, a line each: its training blocks and the expected fractions of its classes."""
    labels, distribution = data.train.labels, data.distribution
    lines = []
    for z, name in enumerate(distribution.labels):
        means, stds = distribution.mean[z].tolist(), distribution.std[z].tolist()
        shares = zip(distribution.classes, means, stds, strict=True)
        expected = ", ".join(f"{c} {mean:.3g} ± {std:.2g}" for c, mean, std in shares)
        lines.append(f"label {z} {name!r}{_count(labels, z, distribution.classes)}: {expected}")
    return lines


def _count(labels: np.ndarray | None, z: int, classes: Sequence[str]) -> str:
    if labels is None:
        return ""
    if labels.ndim == 1:
        return f", {int((labels == z).sum())} training blocks"
    counts = zip(classes, (labels == z).sum(0).tolist(), strict=True)
    return ", training blocks " + ", ".join(f"{c} {count}" for c, count in counts)


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
