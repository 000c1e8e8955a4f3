"""Block labels and count distributions estimated from pixel truth, as an annotator would estimate them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lsr_ext.config.data import FractionSection
from lsr_ext.data import (
    Block,
    BlockCollection,
    Targets,
    add_label_noise,
    quantile_edges,
    quantise_fractions,
)
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.splits import CutSplits

LOW, HIGH = 0, 1


class Labels(NamedTuple):
    """Labels of the training and of the held-out blocks, and their names.

    The fractions are the numbers (N, L) that these labels were made from, where they were made from fractions.
    """

    train: np.ndarray
    test: np.ndarray
    names: list[str]
    train_fractions: np.ndarray | None = None
    test_fractions: np.ndarray | None = None


def label_by_fractions(
    train: np.ndarray, test: np.ndarray, data: FractionSection, foreground: int, seed: int
) -> Labels:
    """Label blocks as a section says, by what an annotator would report of their exact fractions.

    Args:
        train, test: exact fractions of the training and of the held-out blocks, (N, L).
        data: the annotator's error, and edges, bins or the share of high blocks.
        foreground: the class that bins are of.
        seed: of the error.
    """
    rng = np.random.default_rng(seed)
    noisy = [add_annotator_noise(fractions, data.noise_std, rng) for fractions in (train, test)]
    reported = [round_fractions(fractions, data.fraction_step) for fractions in noisy]
    if data.high_share is not None:
        labels = label_high_low(*reported, data.high_share)
    else:
        labels = label_by_bins(*(side[:, foreground] for side in reported), data.edges, data.bins)
    return labels._replace(train_fractions=reported[0], test_fractions=reported[1])


def label_splits(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None,
    names: Sequence[str],
    classes: Sequence[str],
    cut: CutSplits,
    labels: Labels,
) -> tuple[BlockCollection, BlockCollection, BlockCollection]:
    """The blocks to train on, to score and to validate on, with their labels and the fractions they are made from.

    Args:
        images, masks, names: of all splits.
        classes: the L pixel classes.
        cut: the blocks of each split.
        labels: those of the training blocks, and those to score followed by those to validate on.
    """

    def collect(blocks: list[Block], values: np.ndarray, fractions: np.ndarray | None) -> BlockCollection:
        targets = Targets.of_fractions(fractions)
        return BlockCollection(images, blocks, values, list(classes), masks, list(names), labels.names, targets)

    held_out = collect(cut.held_out, labels.test, labels.test_fractions)
    scored = len(cut.test)
    return (
        collect(cut.train, labels.train, labels.train_fractions),
        held_out.subset(range(scored)),
        held_out.subset(range(scored, len(held_out))),
    )


def label_by_bins(train: np.ndarray, test: np.ndarray, edges: list[float] | None, bins: int | None) -> Labels:
    """The bin of each block's value.

    Args:
        train, test: one value per block, (N,) in [0, 1]: an estimated fraction or a classifier's probability.
        edges: inner edges of the bins; None: at the quantiles of the training blocks alone.
        bins: their number, without `edges`.
    """
    cuts = quantile_edges(train, bins) if edges is None else edges
    names = [f"{low:.3g}-{high:.3g}" for low, high in itertools.pairwise([0.0, *cuts, 1.0])]
    return Labels(quantise_fractions(train, cuts), quantise_fractions(test, cuts), names)


def label_high_low(train: np.ndarray, test: np.ndarray, high_share: float) -> Labels:
    """High or low for each class but the first, which stays unknown (Table 2).

    Args:
        train, test: estimated fractions, (N, L).
        high_share: the share of the training blocks that are high; fewer where fractions are equal.

    Raises:
        ValueError: a class of which no training block has more than the others.
    """
    threshold = np.quantile(train, 1 - high_share, axis=0)
    is_high = train > threshold
    for index in range(1, train.shape[1]):
        if not is_high[:, index].any():
            raise ValueError(
                f"class {index}: no training block is high; too many blocks have the same, largest fraction"
            )
    labels = [np.where(values > threshold, HIGH, LOW).astype(np.int64) for values in (train, test)]
    for side in labels:
        side[:, 0] = -1
    return Labels(*labels, ["low", "high"])


def add_annotator_noise(fractions: np.ndarray, noise_std: float, rng: np.random.Generator) -> np.ndarray:
    """Add an annotator's error of `noise_std` to class fractions (N, L); rows still sum to 1."""
    noisy = add_label_noise(fractions[:, 1:], noise_std, rng)
    noisy = noisy / np.maximum(noisy.sum(1, keepdims=True), 1)
    # Rounding may leave the rest a little below 0.
    return np.concatenate([np.maximum(1 - noisy.sum(1, keepdims=True), 0), noisy], axis=1)


def round_fractions(fractions: np.ndarray, step: float | None) -> np.ndarray:
    """Round class fractions (N, L) to multiples of `step`; None: leave them.

    The first class has the rest. Where the others come to more than 1, all are scaled to 1.
    """
    if step is None:
        return fractions
    rounded = np.minimum(np.rint(fractions[:, 1:] / step) * step, 1)
    rounded = rounded / np.maximum(rounded.sum(1, keepdims=True), 1)
    return np.concatenate([np.maximum(1 - rounded.sum(1, keepdims=True), 0), rounded], axis=1)


def draw_annotated(collection: BlockCollection, blocks_per_label: int | str, seed: int) -> np.ndarray:
    """Draw the blocks that an annotator would look at, from as many images as possible.

    Args:
        collection: labelled blocks.
        blocks_per_label: how many to draw per label (and class, where labels are per class), or "all".
        seed: of the draw.

    Returns:
        Their indices, int64, in increasing order.
    """
    if blocks_per_label == "all":
        return np.arange(len(collection))
    rng = np.random.default_rng(seed)
    columns = collection.labels.reshape(len(collection), -1).T
    drawn = [
        _draw_from_many_images(collection, np.flatnonzero(column == label), int(blocks_per_label), rng)
        for column in columns
        if (column >= 0).any()
        for label in range(len(collection.label_names))
    ]
    return np.unique(np.concatenate(drawn))


def estimate_distribution(
    collection: BlockCollection,
    annotated: np.ndarray,
    noise_std: float = 0.0,
    seed: int = 0,
    exact: np.ndarray | None = None,
) -> CountDistribution:
    """Estimate p(c_l | z) from the masks of a few blocks (Appendix B.2), or from noisy fractions (B.1).

    Args:
        collection: blocks, with masks if `exact` is not given.
        annotated: the indices of those to look at.
        noise_std: standard deviation of the noise on the fractions.
        seed: of the noise.
        exact: the class fractions of all blocks, (N, L); None: those of the masks.

    Raises:
        ValueError: a label without a block.
    """
    sample = collection.subset(annotated)
    fractions = sample.fractions() if exact is None else exact[annotated]
    # Other draws than those of the labels, which start from the seed itself.
    fractions = add_annotator_noise(fractions, noise_std, np.random.default_rng((seed, 1)))
    labels = sample.labels
    if labels.ndim == 1:
        return CountDistribution.from_table(fractions, labels, collection.classes, collection.label_names)
    mean, std = (np.empty((len(collection.label_names), len(collection.classes))) for _ in range(2))
    for z, c in np.ndindex(mean.shape):
        # A class without labels: over all blocks.
        values = fractions[(labels[:, c] == z) | (labels[:, c].max() < 0), c]
        if not len(values):
            name = collection.label_names[z]
            raise ValueError(f"label {name!r}: no block to estimate class {collection.classes[c]!r} from")
        mean[z, c], std[z, c] = values.mean(), values.std()
    return CountDistribution(mean, std, collection.label_names, collection.classes)


def _draw_from_many_images(
    collection: BlockCollection, members: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    members = rng.permutation(members)
    images = np.array([collection.blocks[i].image for i in members])
    # The first block of each image comes first, then the second, and so on.
    turns = np.array([np.count_nonzero(images[:i] == image) for i, image in enumerate(images)])
    return members[np.argsort(turns, kind="stable")[:count]]
