"""A method's network, losses, optimizer and batches."""

from __future__ import annotations

from pathlib import Path

import lightning
import torch
from torch import nn

from lsr_ext.config import JointTerms, LossConfig, Method, OptimizerConfig, TrainingConfig
from lsr_ext.networks import build_network
from lsr_ext.sources import TrainingBlocks, TrainingData
from lsr_ext.training.block_loss import build_block_loss
from lsr_ext.training.datamodule import BlockDataModule
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.objective import PixelLoss


def describe_network(training: TrainingConfig, blocks: TrainingBlocks) -> tuple[str, dict]:
    """The import path of the network's class and its parameters for these blocks."""
    sizes = {"num_classes": len(blocks.classes), "in_channels": blocks.channels}
    return "lsr_ext.networks.SegmentationUNet", sizes | training.network.model_dump()


def build_module(
    method: Method, data: TrainingData, training: TrainingConfig, loss: LossConfig, joint: JointTerms, seed: int
) -> SegmentationModule:
    """The method's network, losses and optimizer, with the initial weights that the seed gives.

    Raises:
        ValueError: weights of another number of classes, or a loss that these blocks have no targets for.
    """
    lightning.seed_everything(seed, verbose=False)
    weights, num_classes = joint.pixel_class_weights, len(data.train.classes)
    if weights is not None and len(weights) != num_classes:
        raise ValueError(f"joint.pixel_class_weights: expected {num_classes} weights, got {len(weights)}")
    super_resolution = method.mode and build_block_loss(method.mode, loss, data)
    network = build_network(*describe_network(training, data.train))
    if training.start_at_prior:
        network.start_at(torch.from_numpy(data.expected_area))
    return SegmentationModule(
        network,
        data.distribution,
        super_resolution,
        lambda parameters: build_optimizer(training.optimizer, parameters),
        decay_steps=training.steps if training.schedule == "cosine" else None,
        seed=seed,
        pixel_loss=PixelLoss(weights) if method.pixels else None,
        joint=joint,
        colour_jitter=training.colour_jitter,
    )


def build_batches(
    method: Method, blocks: TrainingBlocks, training: TrainingConfig, seed: int, folder: Path
) -> BlockDataModule:
    """Batches of the blocks, with no other pixel labels than those they have.

    Blocks that cannot be read are listed in `left_out.jsonl` in the method's folder.
    """
    batch_size = training.group_size * training.groups_per_batch
    if not method.is_grouped:
        batch_size = training.ungrouped_batch_size or batch_size
    return BlockDataModule(
        blocks.dataset(training.augment, folder / "left_out.jsonl"),
        blocks.labels,
        training.steps,
        batch_size,
        training.group_size if method.is_grouped else None,
        seed,
        blocks.collate,
    )


def build_optimizer(
    optimizer: OptimizerConfig, parameters: list[nn.Parameter] | None = None
) -> torch.optim.Optimizer:
    """The optimizer over these parameters; over one of its own, to check the configuration.

    Raises:
        ValueError: no optimizer of torch.optim of this name, or parameters that it does not take.
    """
    if parameters is None:
        parameters = [nn.Parameter(torch.zeros(1))]
    found = getattr(torch.optim, optimizer.name, None)
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise ValueError(
            f"training.optimizer: expected the name of a class of torch.optim, got {optimizer.name!r}"
        )
    try:
        return found(parameters, **optimizer.params)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"training.optimizer: {optimizer.name} does not take {optimizer.params}: {error}"
        ) from error
