"""The pixel labels that a method may learn from: true masks, pseudo-labels by colour, or self-training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lsr_ext.config import Method
from lsr_ext.data import BlockCollection, expected_fractions
from lsr_ext.files import written_whole
from lsr_ext.inference import TrainedModel, load_model, predict_rectangles
from lsr_ext.inference.stitching import rectangles_of
from lsr_ext.sources import TrainingBlocks, TrainingData
from lsr_ext.training.objective import IGNORED

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet

_SELF_LABELS_NAME = "self_labels.npz"
_logger = logging.getLogger(__name__)


def blocks_for(
    method: Method,
    data: TrainingData,
    folder: Path,
    teacher: Path | None,
    device: torch.device,
    packages: Sequence[str] = (),
) -> TrainingBlocks:
    """The training blocks with the pixel labels that the method may see.

    Args:
        method: says which they are.
        data: the training blocks, with their true masks where the source has some.
        folder: the method's own; self-training keeps its pixel labels there.
        teacher: folder of the model that predicts the pixel labels of self-training.
        device: to predict them on.
        packages: to import the teacher's network from, see `lsr_ext.inference.load_model`.

    Raises:
        FileNotFoundError, ValueError: the teacher is not trained, or its model cannot be read.
    """
    if method.pixels == "pseudo":
        fractions = expected_fractions(data.train.labels, data.distribution.mean.numpy())
        return replace(data.train, masks=pseudo_masks(data.train, data.stains, fractions))
    if method.pixels == "self":
        return replace(data.train, masks=_self_labels(data.train, folder, teacher, device, packages))
    if method.pixels == "limited":
        return data.train.subset(data.annotated)
    return data.train if method.pixels == "all" else data.train.without_masks()


def pseudo_masks(blocks: BlockCollection, stains: StainSet | None, fractions: np.ndarray) -> list[np.ndarray]:
    """A map of class ids for each image, int64 (H, W); -1 = not labelled.

    Blocks with a label "high" or "low" for each class but the first, the background: the surest pixels of the
    stains that a block is high in. Blocks with one label: as many pixels of each class, those of most of its
    stain, as a block of this label is expected to hold. None in a block of which nothing is known.

    Args:
        blocks: N of them.
        stains: those of the classes but the first.
        fractions: (N, L), the expected ones of the blocks.

    Raises:
        ValueError: no stains or not those of the classes, stains that absorb no light where blocks have one label,
            or labels per class that are not low and high.
    """
    from lsr_ext.baselines import area_label_map, pseudo_label_map

    if stains is None:
        raise ValueError("pseudo-labels need stains (data.stains), got none")
    ordered = stains.in_order(blocks.classes[1:])
    per_class = blocks.labels.ndim == 2
    if per_class and list(blocks.label_names) != ["low", "high"]:
        raise ValueError(f"pseudo-labels need the labels low and high, in this order, got {blocks.label_names}")
    label_map = pseudo_label_map if per_class else area_label_map
    known = blocks.labels[:, 1:] if per_class else fractions
    masks = [np.full(image.shape[:2], IGNORED, np.int64) for image in blocks.images]
    image_of = np.array([block.image for block in blocks.blocks])
    for image in np.unique(image_of):
        members = np.flatnonzero(blocks.known & (image_of == image))
        chosen = [blocks.blocks[index] for index in members]
        masks[image] = label_map(blocks.images[image], chosen, known[members], ordered)
    return masks


def predict_labels(model: TrainedModel, blocks: BlockCollection) -> list[np.ndarray]:
    """The classes that a model predicts in the rectangle that each image's blocks fill, uint8 (h, w) each."""
    regions = list(rectangles_of(blocks.blocks).values())
    return [model.decode(found) for found in predict_rectangles(model, blocks.images, regions)]


def _self_labels(
    blocks: BlockCollection, folder: Path, teacher: Path, device: torch.device, packages: Sequence[str]
) -> list[np.ndarray]:
    """A map of class ids for each image, int64 (H, W); -1 outside the rectangle that its training blocks fill.

    They are predicted as held-out images are, and kept in the folder, from where a run that was cut short reads
    them again.
    """
    path = folder / _SELF_LABELS_NAME
    regions = rectangles_of(blocks.blocks)
    if not path.is_file():
        _logger.info("%s: predicting %d training images by %s", folder.name, len(regions), teacher.parent.name)
        found = predict_labels(load_model(teacher, device, packages), blocks)
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, *found)
    maps = [np.full(image.shape[:2], IGNORED, np.int64) for image in blocks.images]
    with np.load(path) as content:
        for region, classes in zip(regions.values(), content.values(), strict=True):
            region.cut(maps[region.image])[:] = classes
    return maps
