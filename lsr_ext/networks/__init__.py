"""Networks from images (N, C, H, W) to logits (N, L, H, W)."""

from lsr_ext.networks.adapted import Adaptation, AdaptedNetwork
from lsr_ext.networks.build import TRUSTED_PACKAGES, build_network
from lsr_ext.networks.norms import ActNorm
from lsr_ext.networks.unet import SegmentationUNet

__all__ = [
    "TRUSTED_PACKAGES",
    "ActNorm",
    "Adaptation",
    "AdaptedNetwork",
    "SegmentationUNet",
    "build_network",
]
