"""The loss of blocks that a configuration names: by labels, by the blocks' own numbers, or of another method."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from lsr_ext.config import LossConfig
from lsr_ext.data import Targets
from lsr_ext.distributions import binomial_std
from lsr_ext.losses import FractionLoss, LabelSuperResolutionLoss
from lsr_ext.options import FORMS_WITHOUT_STD
from lsr_ext.sources import TrainingData
from lsr_ext.training.errors import NoTargetsError
from lsr_ext.training.peers import PEERS

_logger = logging.getLogger(__name__)


class CountedFractionLoss(FractionLoss):
    """`FractionLoss` of fractions that were counted, each among so many items: their spread is binomial.

    Args:
        count: of the items.
        options: of `FractionLoss`.

    Example:
        >>> import torch
        >>> loss = CountedFractionLoss(100, form="size")
        >>> logits = torch.zeros(1, 2, 8, 8)  # half of the block is of each class
        >>> loss(logits, torch.tensor([[0.46, 0.54]])).item()  # within a standard deviation of 0.05
        0.0
    """

    def __init__(self, count: int, **options: object) -> None:
        super().__init__(**options)
        self.count = count

    def forward(
        self, logits: Tensor, fractions: Tensor, std: Tensor | None = None, *others: object, **named: object
    ) -> Tensor:
        """The loss of a batch, whatever its own `std`."""
        counted = binomial_std(fractions.double(), self.count)
        return super().forward(logits, fractions, counted, *others, **named)


def build_block_loss(mode: str, loss: LossConfig, data: TrainingData) -> nn.Module:
    """The loss of logits (N, L, H, W) and labels, or for `targets: fractions` of logits and numbers (N, L).

    Args:
        mode: "intra", "inter" or "intra+inter".
        loss: what the configuration says of it.
        data: whose labels and count distribution, or numbers, are the targets.

    Raises:
        NoTargetsError: the source knows no fractions of its blocks, or its labels are none that the form can learn
            from.
        ValueError: `class_weights` or `std` of another number of classes, or fractions without a `std`.
    """
    if loss.form in PEERS:
        if unused := sorted(loss.model_fields_set - {"form", "targets"}):
            _logger.warning("loss.%s: the form %r does not have it", ", loss.".join(unused), loss.form)
        return PEERS[loss.form](data.distribution)
    shared = {"class_weights": loss.class_weights, "backend": loss.backend, "mode": mode, **loss.options}
    if loss.targets == "labels":
        return LabelSuperResolutionLoss(data.distribution, **shared)
    targets = data.train.targets
    if targets is None:
        raise NoTargetsError(
            "loss.targets: 'fractions' need numbers of each block, and this source has labels alone"
        )
    if loss.std is None and loss.count is None and loss.form not in FORMS_WITHOUT_STD:
        bare = int((np.isfinite(targets.fractions) & ~np.isfinite(targets.std)).sum())
        if bare:
            raise ValueError(
                f"loss.std or loss.count: {bare} of the source's fractions have no standard deviation of their own"
            )
    if unknown := int(np.isnan(targets.fractions).all(1).sum()):
        _logger.warning("%d of %d training blocks have no number: they teach nothing", unknown, len(data.train))
    for name in ("std", "class_weights"):
        _check_length(f"loss.{name}", getattr(loss, name), len(data.train.classes))
    if loss.count is not None:
        return CountedFractionLoss(loss.count, **shared)
    return FractionLoss(std=loss.std, **shared)


def labels_to_draw(labels: np.ndarray, targets: Targets) -> np.ndarray:
    """The labels to draw blocks by where their numbers are the targets: a block with numbers needs no label.

    A group may then be any blocks, so those with numbers and no label form groups of their own, as if they had one
    more label.

    Args:
        labels: int64 (N,) or (N, L), -1 = unknown.
        targets: the N blocks' numbers.

    Returns:
        The same with a label for such blocks: int64 (N,), or (N, L) for the classes whose fractions are known.

    Example:
        >>> targets = Targets.of_fractions(np.array([[0.5, 0.5], [0.2, 0.8], [np.nan, np.nan]]))
        >>> labels_to_draw(np.array([0, -1, -1]), targets).tolist()
        [0, 1, -1]
    """
    known = np.isfinite(targets.fractions)
    if labels.ndim == 1:
        known = known.any(1)
    has_label = (labels.reshape(len(labels), -1) >= 0).any(1)
    known[has_label] = False
    return np.where(known, labels.max(initial=-1) + 1, labels)


def _check_length(name: str, values: float | Sequence[float] | None, classes: int) -> None:
    if isinstance(values, Sequence) and len(values) != classes:
        raise ValueError(f"{name}: expected {classes} numbers, one a class, got {len(values)}")
