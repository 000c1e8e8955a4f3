"""The default network: a small U-Net for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets.basic_unet import UpCat
from monai.networks.utils import set_named_module
from torch import Tensor, nn
from torch.nn.functional import pad

from lsr_ext.networks.norms import ActNorm, fit_norms

_MULTIPLE_PX = 16  # four halvings
_LEAST_FRACTION = 1e-4


class SegmentationUNet(nn.Module):
    """MONAI's 2-D BasicUNet, for inputs of any size, with the norms that block labels need.

    GroupNorm inside, because groups of one label share their batch: BatchNorm's statistics would give the label
    away in training and be others in testing. At full resolution, in the first and the last stage, `ActNorm`:
    GroupNorm would take the block's own mean out of what the last layer sees, and leave it to luck whether a
    class or its complement is learned. Features are enlarged by interpolation, because transposed
    convolutions tell even pixels from odd ones, and a network may then meet the fractions by stripes.

    Call `fit_norms` with some training images first; until then `ActNorm` changes nothing.

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
            upsample="nontrainable",
        )
        for module in self.unet.modules():
            if isinstance(module, nn.Upsample):
                # MONAI stretches the corners to the corners, which shifts pixels by where in the image they are.
                module.align_corners = False
            elif isinstance(module, UpCat):
                module.is_pad = False  # forward() sees to it; torch 2.13 compiles padding by nothing wrongly
        for stage in (self.unet.conv_0, self.unet.upcat_1):
            for name, module in list(stage.named_modules()):
                if isinstance(module, nn.GroupNorm):
                    set_named_module(stage, name, ActNorm(module.num_channels))

    def fit_norms(self, images: Tensor) -> None:
        """Fit every `ActNorm` to what it gets of these images (N, C, H, W), layer after layer."""
        fit_norms(self, images)

    def start_at(self, fractions: Tensor) -> None:
        """Shift the last layer so that an untrained network predicts about these class fractions (L,)."""
        logits = fractions.clamp(min=_LEAST_FRACTION).log()
        with torch.no_grad():
            self.unet.final_conv.bias.copy_(logits - logits.mean())

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        height, width = image.shape[-2:]
        padded = pad(image, (0, -width % _MULTIPLE_PX, 0, -height % _MULTIPLE_PX), mode="replicate")
        return self.unet(padded)[..., :height, :width]
