"""Networks from images (N, C, H, W) to logits (N, L, H, W)."""

from lsr_ext.networks.build import build_network
from lsr_ext.networks.unet import ActNorm, SegmentationUNet

__all__ = ["ActNorm", "SegmentationUNet", "build_network"]
