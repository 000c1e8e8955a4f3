"""Prediction that has no preferred direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor


class SymmetricInferer(Inferer):
    """The mean of another inferer's predictions of an image turned by quarters and flipped, turned back.

    The fractions of a block stay the same when a network paints every object a few pixels beside its place, so
    block labels leave that open. The mean over the eight symmetries of a square has no such direction.

    Args:
        inferer: predicts each of them.

    Shape:
        inputs (N, C, H, W) -> what `network` gives for it, (N, L, H, W).
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Predict by `network`."""

        def predict(quarters: int, mirrored: list[int]) -> Tensor:
            turned = torch.rot90(inputs, quarters, (2, 3)).flip(mirrored)
            found = self.inferer(turned, network, *args, **kwargs)
            return torch.rot90(found.flip(mirrored), -quarters, (2, 3))

        return sum(predict(quarters, mirrored) for quarters in range(4) for mirrored in ([], [3])) / 8
