"""The source `dots`: images with a dot for every cell; a block's fractions are its dots times a cell's area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.config.data import DottedImages
from lsr_ext.data import Block, list_images, read_image
from lsr_ext.data.kept_arrays import Memory
from lsr_ext.metrics import DotSet, read_dots
from lsr_ext.metrics.dot_files import DOT_SUFFIXES
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.labelling import draw_annotated, estimate_distribution, label_by_fractions, label_splits
from lsr_ext.sources.splits import cut_splits
from lsr_ext.sources.training_data import SECOND_RATER, TRUTH, TrainingData, foreground_index


def prepare_dotted_images(data: DottedImages, context: RunContext) -> TrainingData:
    """Read images and dots, cut and split them, count the dots of each block, and label the blocks.

    Raises:
        FileNotFoundError, ValueError: an image without dots, a faulty file, dots of a class that is not listed, or
            a split or label without a block.
    """
    paths = list_images(data.root / data.images)
    images = Memory(data.memory_gb * 1e9, context.folder).keep(map(read_image, paths))
    names, sizes = [path.name for path in paths], [image.shape[:2] for image in images]
    dots = read_image_dots(data.root / data.dots, names, data.classes[1:])
    foreground = foreground_index(data.foreground, data.classes)
    cut = cut_splits(data, context, sizes, names)
    exact = [dot_fractions(dots, side, data.classes, data.cell_area_px) for side in (cut.train, cut.held_out)]
    labels = label_by_fractions(*exact, data, foreground, context.seed)
    train, test, validation = label_splits(images, None, names, data.classes, cut, labels)
    annotated = draw_annotated(train, data.distribution_blocks, context.seed)
    distribution = estimate_distribution(
        train, annotated, data.distribution_noise_std, context.seed, exact=exact[0]
    )
    scored = sorted({block.image for block in test.blocks})
    raters = {TRUTH: {image: dots[image] for image in scored}}
    if data.second_dots is not None:
        second = read_image_dots(
            data.root / data.second_dots, [names[image] for image in scored], data.classes[1:]
        )
        raters[SECOND_RATER] = {image: second[place] for place, image in enumerate(scored)}
    return TrainingData(
        train,
        test,
        distribution,
        foreground,
        annotated,
        raters,
        validation=validation if context.validates else None,
    )


def read_image_dots(folder: Path, names: Sequence[str], classes: Sequence[str]) -> dict[int, DotSet]:
    """The dots of each image, by its index.

    Args:
        folder: a file of `lsr_ext.metrics.read_dots` with each image's name.
        names: file names of the images.
        classes: what a dot's class may be.

    Raises:
        FileNotFoundError, ValueError: a file is missing or faulty, or a dot is of another class.
    """
    dots = {}
    for index, name in enumerate(names):
        found = [path for suffix in DOT_SUFFIXES if (path := folder / f"{Path(name).stem}{suffix}").is_file()]
        if len(found) != 1:
            raise FileNotFoundError(
                f"expected one file of dots of {name} in {folder} ({', '.join(DOT_SUFFIXES)}), found {len(found)}"
            )
        dots[index] = read_dots(found[0])
        dots[index].check_classes(classes)
    return dots


def dot_fractions(
    dots: Mapping[int, DotSet], blocks: Sequence[Block], classes: Sequence[str], cell_area_px: float
) -> np.ndarray:
    """The fraction of each class in each block, from the number of its dots.

    Args:
        dots: image index -> its dots, in pixels.
        blocks: N of them.
        classes: L names, the background first; it has what the cells leave.
        cell_area_px: area of a cell.

    Returns:
        float64 (N, L), rows of sum 1. Where cells would fill more than the block, all are scaled to fill it.

    Example:
        >>> from lsr_ext.data import cut_blocks
        >>> dots = {0: DotSet([[3, 4], [30, 4]], ["a", "a"])}
        >>> dot_fractions(dots, cut_blocks([(20, 40)], 20), ["background", "a"], cell_area_px=40).tolist()
        [[0.9, 0.1], [0.9, 0.1]]
    """
    counts = np.zeros((len(blocks), len(classes)))
    for row, block in zip(counts, blocks, strict=True):
        x, y = (dots[block.image].xy - (block.x, block.y)).T
        inside = (x >= 0) & (x < block.width) & (y >= 0) & (y < block.height)
        row[1:] = [np.count_nonzero(inside & (dots[block.image].classes == name)) for name in classes[1:]]
    areas = np.array([[block.width * block.height] for block in blocks], dtype=np.float64)
    cells = counts[:, 1:] * cell_area_px / areas
    cells /= np.maximum(cells.sum(1, keepdims=True), 1)
    return np.concatenate([np.maximum(1 - cells.sum(1, keepdims=True), 0), cells], axis=1)
