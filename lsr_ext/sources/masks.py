"""The source `masks`: folders of images with masks of classes or of cells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.config.data import MaskFolders
from lsr_ext.data import read_mask_pairs, read_resize_list
from lsr_ext.data.kept_arrays import KeptArrays, Memory, chain_arrays
from lsr_ext.sources.cell_classes import classify_cells
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.pixel_truth import PixelTruth
from lsr_ext.sources.truth_to_blocks import prepare_truth

if TYPE_CHECKING:
    from lsr_ext.metrics import DotSet
    from lsr_ext.sources.training_data import TrainingData


def prepare_mask_folders(data: MaskFolders, context: RunContext) -> TrainingData:
    """Read images and masks, cut, split and label them: see `prepare_truth`."""
    return prepare_truth(read_mask_folders(data, Memory(data.memory_gb * 1e9, context.folder)), data, context)


def read_mask_folders(data: MaskFolders, memory: Memory) -> PixelTruth:
    """Images and masks of all folders.

    Raises:
        FileNotFoundError, ValueError: a folder or file is missing or faulty.
    """
    pairs = zip(data.images, data.masks or data.images, strict=True)
    read = [_read_folder(data, *pair, memory) for pair in pairs]
    images, masks, names, dots = zip(*read, strict=True)
    cells = dict(enumerate(itertools.chain(*dots)))
    return PixelTruth(chain_arrays(images), chain_arrays(masks), [*itertools.chain(*names)], data.classes, cells)


def _read_folder(
    data: MaskFolders, image_folder: Path, mask_folder: Path, memory: Memory
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray], list[str], list[DotSet]]:
    """Images, masks and names of a folder and, where its masks hold cells, the centres of these."""
    folder = data.root / image_folder
    images, masks, files = read_mask_pairs(
        folder,
        data.root / mask_folder,
        image_suffix=data.image_suffix,
        mask_suffix=data.mask_suffix,
        mask_page=data.mask_page,
        mask_colours=_colour_ids(data),
        colour_tolerance=data.colour_tolerance,
        instance_masks=data.instance_masks and data.cells_suffix is None,
        resize=read_resize_list(folder / data.resize_list) if data.resize_list else None,
        downscale=data.downscale,
        memory=memory,
    )
    names = [(image_folder / name).as_posix() for name in files]
    if data.cells_suffix is None:
        return images, masks, names, []
    classes, dots = KeptArrays(memory), []
    for mask, centres in classify_cells(data, data.root / mask_folder, files, masks):
        classes.append(mask)
        dots.append(centres)
    return images, classes.arrays, names, dots


def _colour_ids(data: MaskFolders) -> dict[int, list[list[int]]] | None:
    if data.mask_colours is None:
        return None
    return {data.classes.index(name): colours for name, colours in data.mask_colours.items()}
