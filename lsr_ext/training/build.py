"""A method's network, losses, optimizer and batches."""

from __future__ import annotations

from pathlib import Path

import lightning
import torch
from torch import nn

from lsr_ext.config import JointTerms, LossConfig, Method, OptimizerConfig, TrainingConfig
from lsr_ext.inference import choose_device
from lsr_ext.networks.weights import parameter_groups
from lsr_ext.sources import TrainingBlocks, TrainingData
from lsr_ext.training.block_loss import build_block_loss, labels_to_draw
from lsr_ext.training.datamodule import BlockDataModule, Feeding, ValidationBlocks
from lsr_ext.training.execution import choose_workers
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.network import make_network
from lsr_ext.training.objective import PixelLoss
from lsr_ext.training.validation import in_batches, validation_order


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
    network = make_network(training.network, data.train, data.block_size_px)
    groups = parameter_groups(network, training.network.learning_rates)
    if training.start_at_prior:
        network.start_at(torch.from_numpy(data.expected_area))
    return SegmentationModule(
        network,
        data.distribution,
        super_resolution,
        lambda _: build_optimizer(training.optimizer, groups),
        decay_steps=training.steps if training.schedule == "cosine" else None,
        seed=seed,
        pixel_loss=PixelLoss(weights) if method.pixels else None,
        joint=joint,
        colour_jitter=training.colour_jitter,
        channels_last=training.channels_last,
        compiled=training.compile,
        foreground=data.foreground,
    )


def build_batches(
    method: Method,
    blocks: TrainingBlocks,
    training: TrainingConfig,
    seed: int,
    folder: Path,
    *,
    by_numbers: bool = False,
    validation: TrainingBlocks | None = None,
    resumed: bool = False,
) -> BlockDataModule:
    """Batches of the blocks, with no other pixel labels than those they have.

    Args:
        method: says whether blocks come in groups.
        blocks: to train on.
        training: the sizes of batches, and how they are read.
        seed: of the order.
        folder: the method's. Blocks that cannot be read are listed in its `left_out.jsonl`.
        by_numbers: the targets are the blocks' numbers, so that blocks without a label are drawn too.
        validation: held-out blocks, where there is a validation; those that cannot be read are listed in
            `left_out_validation.jsonl`.
        resumed: go on with what those files list.
    """
    batch_size = training.group_size * training.groups_per_batch
    if not method.is_grouped:
        batch_size = training.ungrouped_batch_size or batch_size
    labels = labels_to_draw(blocks.labels, blocks.targets) if by_numbers and method.mode else blocks.labels
    held_out = None
    if validation is not None:
        chooses = training.keep == "best" or training.patience is not None
        if chooses and training.monitor == "iou" and validation.masks is None:
            raise ValueError(
                "training.monitor: iou needs pixel truth of the validation blocks; use fraction_error"
            )
        order = validation_order(validation.labels, len(validation), training.validation_blocks, seed)
        dataset = validation.dataset(False, folder / "left_out_validation.jsonl", resumed)
        held_out = ValidationBlocks(dataset, in_batches(order, batch_size))
    return BlockDataModule(
        blocks.dataset(training.augment, folder / "left_out.jsonl", resumed),
        labels,
        training.steps * training.accumulate_batches,
        batch_size,
        training.group_size if method.is_grouped else None,
        seed,
        blocks.collate,
        Feeding(
            choose_workers(training, blocks.reads_files),
            training.prefetch_batches,
            choose_device(training.accelerator).type == "cuda",
        ),
        held_out,
    )


def build_optimizer(
    optimizer: OptimizerConfig, parameters: list[nn.Parameter] | list[dict[str, object]] | None = None
) -> torch.optim.Optimizer:
    """The optimizer over these parameters or groups of them; over one of its own, to check the configuration.

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
