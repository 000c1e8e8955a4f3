"""The source `labels`: a folder of images, a CSV of block labels and a count distribution."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsr_ext.config.data import Cohort, LabelledImages
from lsr_ext.data import (
    BlockCollection,
    LabelTable,
    Targets,
    quantile_edges,
    quantise_fractions,
    read_label_table,
    read_mask,
)
from lsr_ext.data.kept_arrays import Memory
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.image_files import find_image_files
from lsr_ext.sources.mask_ids import bind_mask_ids, to_classes
from lsr_ext.sources.splits import split_blocks
from lsr_ext.sources.training_data import SECOND_RATER, TRUTH, TrainingData, foreground_index

if TYPE_CHECKING:
    from lsr_ext.metrics import DotSet


def prepare_labelled_images(data: LabelledImages, context: RunContext) -> TrainingData:
    """Read the images, their labels and p(c_l | z), and the truth of held-out images where there is one.

    Raises:
        FileNotFoundError, ValueError: a file is missing or faulty, or a split has no block.
    """
    distribution, is_ordered = (None, True) if data.distribution is None else _read_ordered(data)
    path = data.root / data.labels
    table = read_label_table(path, distribution and distribution.labels, names_are_ordered=is_ordered)
    classes = list(distribution.classes if distribution else data.classes)
    foreground = foreground_index(data.foreground, classes)
    targets = _targets(table, classes, classes[foreground], path)
    bins = None
    if not table.has_labels:
        bins = _bin(targets, foreground, data, path)
        table = replace(table, labels=bins.labels)
    label_names = list(distribution.labels if distribution else bins.names)
    memory = Memory(data.memory_gb * 1e9, context.folder)
    collection = BlockCollection.from_table(
        table, data.root / data.images, path, classes, data.block_size_px, label_names, memory
    )
    if targets is not None:
        image_of = np.array([block.image for block in collection.blocks])
        collection = replace(collection, targets=targets.subset(image_of))
    sizes = [image.shape[:2] for image in collection.images]
    splits = split_blocks(data, context, collection.blocks, sizes, collection.names, table.splits, table.patients)
    held_out = collection.subset(splits.held_out(context.split))
    train = collection.subset(splits.train)
    if distribution is None:
        distribution = CountDistribution.from_table(train.targets.fractions, train.labels, classes, label_names)
    scored = list(_images_of(collection.subset(np.concatenate([splits.validation, splits.test]))).values())
    if data.masks is not None:
        held_out = replace(held_out, masks=_read_held_out_masks(data, held_out, scored))
    raters = {TRUTH: data.dots, SECOND_RATER: data.second_dots}
    dots = {
        rater: _read_held_out_dots(data.root / folder, held_out, scored)
        for rater, folder in raters.items()
        if folder
    }
    validation = collection.subset(splits.held_out("validation")) if context.validates else None
    return TrainingData(train, held_out, distribution, foreground, dots=dots, validation=validation)


class _Bins(NamedTuple):
    """Labels made of numbers: the bin of each image's fraction."""

    labels: np.ndarray
    names: list[str]


def _bin(targets: Targets, foreground: int, data: LabelledImages, path: Path) -> _Bins:
    """The bins of the foreground's fractions, -1 where it is unknown."""
    if data.edges is None and data.bins is None:
        raise ValueError(
            f"{path}: labels are numbers alone; give data.edges or data.bins, and blocks are trained by the bin "
            "of their fraction"
        )
    if data.distribution is not None:
        raise ValueError("data.distribution: bins of the labels' own fractions have their own distribution")
    values = targets.fractions[:, foreground].astype(np.float64)
    known = ~np.isnan(values)
    cuts = quantile_edges(values[known], data.bins) if data.edges is None else data.edges
    labels = np.where(known, quantise_fractions(np.where(known, values, 0.0), cuts), -1)
    names = [f"{low:.3g}-{high:.3g}" for low, high in itertools.pairwise([0.0, *cuts, 1.0])]
    return _Bins(labels, names)


def _targets(table: LabelTable, classes: Sequence[str], foreground: str, path: Path) -> Targets | None:
    """The table's fractions of these classes; the column `fraction` is of the foreground."""
    if table.fractions is None:
        return None
    named = [name or foreground for name in table.fraction_classes]
    try:
        return Targets.of_classes(table.fractions, table.std, named, classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_ordered(data: LabelledImages) -> tuple[CountDistribution, bool]:
    """The distribution, and whether the order of its labels was chosen: that of a CSV's rows was not."""
    by_eye = not isinstance(data.distribution, str) and data.distribution.suffix.lower() == ".csv"
    return read_distribution(data), not by_eye


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


def _images_of(collection: BlockCollection) -> dict[int, str]:
    """The images that a collection has blocks of: index -> name."""
    return {index: collection.names[index] for index in sorted({block.image for block in collection.blocks})}


def _read_held_out_masks(
    data: LabelledImages, held_out: BlockCollection, scored: Sequence[str]
) -> list[np.ndarray]:
    """Masks of the held-out images; the others, which stay unused, are zero."""
    class_of_id = bind_mask_ids(data.mask_classes, held_out.classes)
    masks = [np.zeros(image.shape[:2], dtype=np.int64) for image in held_out.images]
    for index, path in _held_out_files(data.root / data.masks, held_out, scored, [f"{data.mask_suffix}.png"]):
        masks[index] = to_classes(read_mask(path), class_of_id, path)
    return masks


def _read_held_out_dots(folder: Path, held_out: BlockCollection, scored: Sequence[str]) -> dict[int, DotSet]:
    from lsr_ext.metrics import read_dots

    files = _held_out_files(folder, held_out, scored, [".csv", ".tsv", ".geojson"])
    return {index: read_dots(path) for index, path in files}


def _held_out_files(
    folder: Path, held_out: BlockCollection, scored: Sequence[str], endings: Sequence[str]
) -> Iterator[tuple[int, Path]]:
    """The index of each held-out image, and its file.

    Args:
        scored: names of the images of all held-out splits: a file for two of them is wrong whichever is scored.

    Raises:
        FileNotFoundError, ValueError: an image without a file, or two with one.
    """
    found = find_image_files(folder, scored, endings)
    for index, name in _images_of(held_out).items():
        if name not in found:
            files = ", ".join(f"{Path(name).stem}{ending}" for ending in endings)
            raise FileNotFoundError(f"expected a file of {name} in {folder} ({files}), found none")
        yield index, found[name]
