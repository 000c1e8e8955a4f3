"""Sources with pixel truth: block labels and p(c_l | z) are made from it, as an annotator would give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.data import Block, BlockCollection, block_fractions
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.labelling import (
    Labels,
    draw_annotated,
    estimate_distribution,
    label_by_fractions,
    label_splits,
)
from lsr_ext.sources.pixel_truth import PixelTruth
from lsr_ext.sources.splits import cut_splits, patients
from lsr_ext.sources.training_data import TRUTH, TrainingData, foreground_index

if TYPE_CHECKING:
    from lsr_ext.config.data import PixelTruthSection
    from lsr_ext.metrics import DotSet


def from_truth(
    read: Callable[[PixelTruthSection], PixelTruth],
) -> Callable[[PixelTruthSection, RunContext], TrainingData]:
    """A source of training data from a reader of pixel truth."""
    return lambda data, context: prepare_truth(read(data), data, context)


def prepare_truth(truth: PixelTruth, data: PixelTruthSection, context: RunContext) -> TrainingData:
    """Cut, split and label the images, and estimate p(c_l | z) from a few training blocks.

    Raises:
        ValueError: images or blocks that do not fit the section, or a split or label without a block.
    """
    foreground = foreground_index(data.foreground, truth.classes)
    cut = cut_splits(data, context, truth.sizes, truth.names)
    labels, low_resolution = _label(truth, data, context, cut.train, cut.held_out, foreground)
    train, test, validation = label_splits(truth.images, truth.masks, truth.names, truth.classes, cut, labels)
    annotated = draw_annotated(train, data.distribution_blocks, context.seed)
    distribution = estimate_distribution(train, annotated, data.distribution_noise_std, context.seed)
    dots = {TRUTH: truth.dots or _dots_of_masks(test)} if data.cells else {}
    return TrainingData(
        train,
        test,
        distribution,
        foreground,
        annotated,
        dots,
        low_resolution=low_resolution,
        validation=validation if context.validates else None,
    )


def _label(
    truth: PixelTruth,
    data: PixelTruthSection,
    context: RunContext,
    train: list[Block],
    test: list[Block],
    foreground: int,
) -> tuple[Labels, Mapping[int, np.ndarray] | None]:
    """Labels of both sides and, where a classifier gave them, its map of each held-out image."""
    if data.classifier is not None:
        # Not needed, nor what it imports, by the other ways to label.
        from lsr_ext.sources.classifier_labels import label_by_classifier

        groups = patients(truth.names, data.patient)
        return label_by_classifier(truth, groups, train, test, foreground, data, context)
    exact = (block_fractions(truth.masks, side, len(truth.classes)) for side in (train, test))
    return label_by_fractions(*exact, data, foreground, context.seed), None


def _dots_of_masks(test: BlockCollection) -> dict[int, DotSet]:
    from lsr_ext.metrics import dots_from_masks

    return {
        index: dots_from_masks(test.masks[index], test.classes) for index in {block.image for block in test.blocks}
    }
