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
        logits (N, L, H, W), mask int64 (N, H, W) of class ids, -1 = not labelled; a scalar, float64 for float64
        logits and float32 otherwise.
    """

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The loss of a batch."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = logits.new_ones(logits.shape[1]) if self.class_weights is None else self.class_weights.to(logits)
        total = cross_entropy(logits, mask, weights, ignore_index=IGNORED, reduction="sum")
        # Of all pixels by a mask, and not of those that are labelled: a GPU would have to tell how many there are.
        weight = torch.where(mask == IGNORED, 0, weights[mask.clamp(min=0)]).sum()
        return total / torch.where(weight > 0, weight, 1)
