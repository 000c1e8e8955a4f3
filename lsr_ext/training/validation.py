"""Scores of held-out blocks while a network is trained."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lsr_ext.distributions import CountDistribution
from lsr_ext.functional import block_moments
from lsr_ext.metrics import OverlapScores, macro, overlap_scores

MONITORED = {"fraction_error": "min", "loss": "min", "iou": "max"}  # what may choose the best weights


class ValidationScores:
    """Sums over the batches of one validation.

    Args:
        distribution: expected fractions per label.
        foreground: the index of the class whose IoU counts where there are two.
    """

    def __init__(self, distribution: CountDistribution, foreground: int = -1) -> None:
        self._expected, self._names = distribution.mean.numpy(), distribution.labels
        self._foreground = foreground
        self._sums, self._blocks = np.zeros((2, *self._expected.shape))
        self._loss = self._weight = 0.0
        self._overlap: OverlapScores | None = None

    def add(self, logits: Tensor, labels: Tensor, mask: Tensor | None) -> None:
        """Count a batch.

        Args:
            logits: (N, L, H, W).
            labels: (N,) or (N, L), -1 = unknown.
            mask: true class ids (N, H, W); None: there are none.
        """
        pixels, sums, _ = block_moments(logits)
        fractions = (sums / pixels[:, None]).double().cpu().numpy()
        known = labels.reshape(len(labels), -1).expand(fractions.shape).cpu().numpy()
        for z in np.unique(known[known >= 0]):
            self._sums[z] += np.where(known == z, fractions, 0).sum(0)
            self._blocks[z] += (known == z).sum(0)
        if mask is not None:
            found = overlap_scores(logits.argmax(1).cpu().numpy(), mask.cpu().numpy(), logits.shape[1])
            self._overlap = found if self._overlap is None else self._overlap + found

    def add_loss(self, loss: Tensor, blocks: int) -> None:
        """Count the mean loss of so many blocks."""
        self._loss += float(loss) * blocks
        self._weight += blocks

    def results(self) -> dict[str, float]:
        """The scores by name: "fraction_error", the mean over labels, "fraction_error/<label>", "loss", "iou"."""
        by_label = {}
        for z, name in enumerate(self._names):
            blocks = self._blocks[z]
            if blocks.any():
                errors = np.abs(self._sums[z] / np.maximum(blocks, 1) - self._expected[z])
                by_label[f"fraction_error/{name}"] = float(errors[blocks > 0].mean())
        found = dict(by_label)
        if by_label:
            found["fraction_error"] = float(np.mean(list(by_label.values())))
        if self._weight:
            found["loss"] = self._loss / self._weight
        if self._overlap is not None:
            iou = self._overlap.iou
            found["iou"] = float(iou[self._foreground] if len(iou) == 2 else macro(iou))
        return found


def validation_order(labels: np.ndarray | None, count: int, most: int, seed: int) -> np.ndarray:
    """Which blocks are validated on, and in which order: those of one label follow one another.

    Args:
        labels: (N,) or (N, L); None: blocks without a label of their own.
        count: N.
        most: as many are drawn if there are more.
        seed: of the draw.

    Returns:
        int64 indices.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    if labels is None:
        return chosen
    columns = labels[chosen].reshape(len(chosen), -1)
    return chosen[np.lexsort(columns.T[::-1])]


def in_batches(order: np.ndarray, batch_size: int) -> list[list[int]]:
    """Cut an order into batches; the last may be smaller."""
    return [order[first : first + batch_size].tolist() for first in range(0, len(order), batch_size)]
