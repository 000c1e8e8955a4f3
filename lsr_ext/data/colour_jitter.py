"""Random colours, because staining and exposure differ between slides and fields."""

from __future__ import annotations

import torch
from torch import Tensor

_OFFSET_SHARE = 0.2  # standard deviation of the offsets over that of the gains


def jitter_colours(images: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Apply a random gain and a random offset to each channel of each image; `std` 0 changes nothing.

    Args:
        images: (N, C, H, W) floating point in [0, 1].
        std: standard deviation of the logarithm of the gains; that of the offsets is a fifth of it.
        generator: CPU generator; None: torch's global generator.

    Example:
        >>> images = torch.full((2, 3, 4, 4), 0.5)
        >>> jitter_colours(images, std=0.1).shape
        torch.Size([2, 3, 4, 4])
    """
    if not std:
        return images
    gain, offset = torch.randn(2, *images.shape[:2], 1, 1, generator=generator).to(images) * std
    return (images * gain.exp() + offset * _OFFSET_SHARE).clamp(0, 1)
