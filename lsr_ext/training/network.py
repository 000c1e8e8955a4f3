"""The default network: a small U-Net for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn.functional import pad

_MULTIPLE_PX = 16  # four halvings


class SegmentationUNet(nn.Module):
    """MONAI's 2-D BasicUNet with GroupNorm, for inputs of any size.

    GroupNorm, because groups of one label share their batch: BatchNorm's statistics would give the label
    away in training and be others in testing.

    Args:
        num_classes: L.
        features: channels of the five levels and of the last feature map.
        norm_groups: groups of each GroupNorm; divides every number of features.
        in_channels: C.

    Shape:
        (N, C, H, W) -> logits (N, num_classes, H, W).
    """

    def __init__(
        self,
        num_classes: int,
        features: Sequence[int] = (32, 32, 64, 128, 256, 32),
        norm_groups: int = 8,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=num_classes,
            features=tuple(features),
            norm=("group", {"num_groups": norm_groups}),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        height, width = image.shape[-2:]
        padded = pad(image, (0, -width % _MULTIPLE_PX, 0, -height % _MULTIPLE_PX), mode="replicate")
        return self.unet(padded)[..., :height, :width]
