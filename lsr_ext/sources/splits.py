"""Which blocks are trained on and which are held out: by position, image or patient."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lsr_ext.config.data import Data
from lsr_ext.data import Block, split_by_image, split_by_position
from lsr_ext.sources.context import RunContext


def split_blocks(
    data: Data,
    context: RunContext,
    blocks: Sequence[Block],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training blocks and of those of the held-out split that is scored.

    Args:
        data: the shares of the splits, their seed and the pattern of a patient's name.
        context: the run's seed, and which held-out split is scored.
        blocks: N blocks of M images.
        sizes: (height, width) of the M images, in pixels.
        names: the M images' names.

    Raises:
        ValueError: a split without a block, a name without a patient, or a validation split of one image.
    """
    if len(sizes) == 1:
        if data.validation_fraction:
            raise ValueError("data.validation_fraction needs several images, got one")
        return split_by_position(blocks, sizes[0], data.test_fraction)
    seed = context.seed if data.split_seed is None else data.split_seed
    groups = patients(names, data.patient)
    rest, test = split_by_image(blocks, data.test_fraction, seed, groups)
    if not data.validation_fraction:
        return rest, test
    share = data.validation_fraction / (1 - data.test_fraction)
    train, validation = split_by_image([blocks[i] for i in rest], share, seed, groups)
    return rest[train], test if context.split == "test" else rest[validation]


def patients(names: Sequence[str], pattern: str | None) -> list[str]:
    """What stays on one side of a split: each image's patient, or without a pattern the image itself.

    Raises:
        ValueError: a name in which the pattern is nowhere.
    """
    return list(names) if pattern is None else [_patient(name, pattern) for name in names]


def _patient(name: str, pattern: str) -> str:
    found = re.search(pattern, name)
    if not found:
        raise ValueError(f"data.patient: {pattern!r} is nowhere in the name {name!r}")
    return found.group()
