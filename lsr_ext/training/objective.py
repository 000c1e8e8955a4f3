"""The loss of labelled pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

IGNORED = -1  # the class id of a pixel without a label


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
