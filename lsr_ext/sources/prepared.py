"""What every source is brought to before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.data import BlockCollection
from lsr_ext.distributions import CountDistribution

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet
    from lsr_ext.data.land_cover import LandCoverPatch
    from lsr_ext.metrics import DotSet


@dataclass(frozen=True)
class PreparedData:
    """The blocks of both sides, p(c_l | z), and the class that two-class scores are of.

    Held-out blocks do not overlap. Pixel masks are there for supervision and scoring; the label
    super-resolution losses are not given them.

    Attributes:
        train, test: training blocks, and those of the held-out part that is scored.
        distribution: p(c_l | z).
        foreground: the index of the class that two-class scores are of.
        annotated: indices of the training blocks that `distribution` was estimated from.
        dots: rater -> image index -> its dots, in pixels of the image; the first rater's are the truth.
        stains: of the colour baselines.
        low_resolution: image index -> the low-resolution model's map of it, where the source has one.
        patches: training images whose every pixel has a low-resolution label; None: blocks have.
    """

    train: BlockCollection
    test: BlockCollection
    distribution: CountDistribution
    foreground: int
    annotated: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    dots: Mapping[str, Mapping[int, DotSet]] = field(default_factory=dict)
    stains: StainSet | None = None
    low_resolution: Mapping[int, np.ndarray] | None = None
    patches: Sequence[LandCoverPatch] | None = None

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
