"""What is minimised: the super-resolution loss, a pixel loss on known pixels, or both, weighted over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

IGNORED = -1  # the class id of a pixel that nobody labelled


class PixelLoss(nn.Module):
    """Cross-entropy, the weighted mean over the labelled pixels of a batch; 0 where there are none.

    Args:
        class_weights: (L,), None: all equal.

    Shape:
        logits (N, L, H, W), mask int64 (N, H, W) of class ids, -1 = not labelled; a scalar.
    """

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The loss of a batch."""
        total = cross_entropy(logits, mask, self.class_weights, ignore_index=IGNORED, reduction="sum")
        known = mask[mask != IGNORED]
        weight = known.numel() if self.class_weights is None else float(self.class_weights[known].sum())
        return total / (weight or 1.0)


@dataclass(frozen=True)
class Term:
    """The weight of a term of the joint loss.

    It is 0 before `start_step`, rises linearly to `weight` over `warmup_steps`, and from there goes linearly to
    `final_weight` at the last step, if that is given.
    """

    weight: float = 1.0
    start_step: int = 0
    warmup_steps: int = 0
    final_weight: float | None = None

    def at(self, step: int, steps: int) -> float:
        """The weight at a step from 0 to steps - 1."""
        if step < self.start_step:
            return 0.0
        full_step = self.start_step + self.warmup_steps
        if step < full_step:
            return self.weight * (step - self.start_step + 1) / (self.warmup_steps + 1)
        if self.final_weight is None:
            return self.weight
        share = (step - full_step) / max(steps - 1 - full_step, 1)
        return self.weight + (self.final_weight - self.weight) * share


@dataclass(frozen=True)
class JointTerms:
    """The joint loss of section 3.1.4, of a pixel term, which fades out, and a super-resolution term."""

    pixel: Term = Term(final_weight=0.0)
    super_resolution: Term = Term()
