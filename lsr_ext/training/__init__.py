"""Training from block labels: Lightning's modules, the objective, and a whole run."""

from lsr_ext.training.datamodule import BlockDataModule
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.objective import PixelLoss
from lsr_ext.training.run import train

__all__ = ["BlockDataModule", "PixelLoss", "SegmentationModule", "train"]
