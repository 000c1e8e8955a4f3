"""Random colours: slides are stained, and fields exposed, more or less."""

from __future__ import annotations

import torch
from torch import Tensor

_OFFSET_SHARE = 0.2  # of an offset's standard deviation in a gain's


def jitter_colours(images: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Each channel of each image with a gain and an offset of its own; the images as they are at 0.

    Args:
        images: (N, C, H, W) floating point in [0, 1].
        std: standard deviation of the logarithm of the gains; a fifth of it is that of the offsets.
        generator: of the CPU; None: torch's global one.
    """
    if not std:
        return images
    gain, offset = torch.randn(2, *images.shape[:2], 1, 1, generator=generator).to(images) * std
    return (images * gain.exp() + offset * _OFFSET_SHARE).clamp(0, 1)
