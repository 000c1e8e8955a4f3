"""Training from block labels: configuration, data, Lightning modules, training and evaluation."""

from lsr_ext.config import RunConfig, load_config
from lsr_ext.training.datamodule import BlockDataModule
from lsr_ext.evaluation.evaluate import evaluate
from lsr_ext.training.module import SegmentationModule
from lsr_ext.networks.unet import SegmentationUNet
from lsr_ext.sources.prepared import PreparedData
from lsr_ext.config import PRESETS
from lsr_ext.training.run import train
from lsr_ext.sources.prepare import prepare_data

__all__ = [
    "PRESETS",
    "BlockDataModule",
    "PreparedData",
    "RunConfig",
    "SegmentationModule",
    "SegmentationUNet",
    "evaluate",
    "load_config",
    "prepare_data",
    "train",
]
