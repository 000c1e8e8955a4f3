"""Prediction of large images by windows."""

from __future__ import annotations

from collections.abc import Callable

from monai.inferers import sliding_window_inference
from torch import Tensor

_WINDOWS_AT_ONCE = 16


def predict_windows(image: Tensor, network: Callable[[Tensor], Tensor], window_px: int, overlap: float) -> Tensor:
    """Blend the predictions of overlapping windows, whose middle counts most.

    Along a side of the image that is shorter than a window, windows are as short: MONAI would fill such a side up
    with black, which a network has never seen.

    Args:
        image: (N, C, H, W).
        network: (n, C, h, w) -> (n, L, h, w).
        window_px: the side of a window.
        overlap: the share of it that the next window has too, in [0, 1).

    Returns:
        (N, L, H, W).
    """
    size = [min(window_px, side) for side in image.shape[2:]]
    return sliding_window_inference(image, size, _WINDOWS_AT_ONCE, network, overlap, "gaussian")
