"""The source `labels`: a folder of images, a CSV of block labels and a count distribution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.config.data import Cohort, LabelledImages
from lsr_ext.data import BlockCollection, read_mask
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.splits import split_blocks
from lsr_ext.sources.training_data import SECOND_RATER, TRUTH, TrainingData, foreground_index

if TYPE_CHECKING:
    from lsr_ext.metrics import DotSet


def prepare_labelled_images(data: LabelledImages, context: RunContext) -> TrainingData:
    """Read the images, their labels and p(c_l | z), and the truth of held-out images where there is one.

    Raises:
        FileNotFoundError, ValueError: a file is missing or faulty, or a split has no block.
    """
    distribution = read_distribution(data)
    collection = BlockCollection.from_label_table(
        data.root / data.images,
        data.root / data.labels,
        distribution.classes,
        data.block_size_px,
        distribution.labels,
    )
    sizes = [image.shape[:2] for image in collection.images]
    splits = split_blocks(data, context, collection.blocks, sizes, collection.names)
    held_out = collection.subset(splits.held_out(context.split))
    if data.masks is not None:
        held_out = replace(held_out, masks=_read_held_out_masks(data, held_out))
    raters = {TRUTH: data.dots, SECOND_RATER: data.second_dots}
    dots = {rater: _read_held_out_dots(data.root / folder, held_out) for rater, folder in raters.items() if folder}
    foreground = foreground_index(data.foreground, distribution.classes)
    validation = collection.subset(splits.held_out("validation")) if context.validates else None
    train = collection.subset(splits.train)
    return TrainingData(train, held_out, distribution, foreground, dots=dots, validation=validation)


def read_distribution(data: LabelledImages | Cohort) -> CountDistribution:
    """The count distribution that a section names.

    Raises:
        FileNotFoundError, ValueError: a file that is missing or faulty.
    """
    if isinstance(data.distribution, str):
        return CountDistribution.paper(data.distribution)
    path = data.root / data.distribution
    if not path.is_file():
        raise FileNotFoundError(f"expected a count distribution (data.distribution), found none at {path}")
    if path.suffix.lower() == ".csv":
        return CountDistribution.from_fractions(path)
    return CountDistribution.load(path)


def _read_held_out_masks(data: LabelledImages, held_out: BlockCollection) -> list[np.ndarray]:
    """Masks of the held-out images; the others, which stay unused, are zero."""
    masks = [np.zeros(image.shape[:2], dtype=np.int64) for image in held_out.images]
    for index in {block.image for block in held_out.blocks}:
        name = Path(held_out.names[index])
        masks[index] = read_mask(data.root / data.masks / f"{name.stem}{data.mask_suffix}.png")
    return masks


def _read_held_out_dots(folder: Path, held_out: BlockCollection) -> dict[int, DotSet]:
    from lsr_ext.metrics import read_dots

    dots = {}
    for index in sorted({block.image for block in held_out.blocks}):
        stem = Path(held_out.names[index]).stem
        found = [path for suffix in (".csv", ".tsv", ".geojson") if (path := folder / f"{stem}{suffix}").is_file()]
        if not found:
            raise FileNotFoundError(f"expected dots of {stem} in {folder} (.csv, .tsv or .geojson), found none")
        dots[index] = read_dots(found[0])
    return dots
