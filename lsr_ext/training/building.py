"""A method's network, losses and optimizer, and where what comes of it lies."""

from __future__ import annotations

from pathlib import Path

import lightning
import torch

from lsr_ext.config.methods import METHODS
from lsr_ext.config.run import RunConfig
from lsr_ext.evaluation.low_resolution import expected_area
from lsr_ext.losses import LabelSuperResolutionLoss
from lsr_ext.networks.unet import SegmentationUNet
from lsr_ext.sources.prepared import PreparedData
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.objective import PixelLoss

CHECKPOINT_NAME = "last.ckpt"


def method_folder(config: RunConfig, method: str) -> Path:
    """Where a method's checkpoint, events and predictions lie."""
    return config.output / method


def build_module(config: RunConfig, name: str, data: PreparedData) -> SegmentationModule:
    """The method's network, losses and optimizer, with the initial weights that the seed gives."""
    lightning.seed_everything(config.seed, verbose=False)
    training, method = config.training, METHODS[name]
    loss = method.mode and LabelSuperResolutionLoss(
        data.distribution, mode=method.mode, **config.loss.model_dump()
    )
    weights = config.joint.pixel_class_weights
    if weights is not None and len(weights) != len(data.train.classes):
        raise ValueError(
            f"joint.pixel_class_weights: expected {len(data.train.classes)} weights, got {len(weights)}"
        )
    network = SegmentationUNet(
        len(data.train.classes), in_channels=data.train.images[0].shape[2], **training.network.model_dump()
    )
    if training.start_at_prior:
        network.start_at(torch.from_numpy(expected_area(data)))
    return SegmentationModule(
        network,
        data.distribution,
        loss,
        training.optimizer.build,
        group_size=training.group_size if method.is_grouped else None,
        decay_steps=training.steps if training.schedule == "cosine" else None,
        seed=config.seed,
        pixel_loss=PixelLoss(weights) if method.pixels else None,
        joint=config.joint.build(),
        colour_jitter=training.colour_jitter,
    )
