"""Prediction of large images by windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor

_WINDOWS_AT_ONCE = 16


class WindowInferer(Inferer):
    """Overlapping windows, whose middle counts most.

    Along a side of the image that is shorter than a window, windows are as short: MONAI's own inferer fills such a
    side up with black, which a network has never seen.

    Args:
        window_px: the side of a window.
        overlap: the share of it that the next window has too, in [0, 1).

    Shape:
        inputs (N, C, H, W) -> what `network` gives for them, (N, L, H, W).
    """

    def __init__(self, window_px: int, overlap: float) -> None:
        super().__init__()
        self.window_px = window_px
        self.overlap = overlap

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Predict by `network`."""
        size = [min(self.window_px, side) for side in inputs.shape[2:]]
        return sliding_window_inference(
            inputs, size, _WINDOWS_AT_ONCE, network, self.overlap, "gaussian", *args, **kwargs
        )
