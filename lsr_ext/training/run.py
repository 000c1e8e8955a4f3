"""Train every method of a configuration; the same call again resumes or skips what was done."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from lsr_ext.config.methods import METHODS
from lsr_ext.config.run import RunConfig
from lsr_ext.data import BlockCollection, BlockDataset
from lsr_ext.data.land_cover import LandCoverDataset, collate_blocks
from lsr_ext.evaluation.low_resolution import expected_fractions
from lsr_ext.files import write_atomically
from lsr_ext.sources.prepare import prepare_data
from lsr_ext.sources.prepared import PreparedData
from lsr_ext.training.building import CHECKPOINT_NAME, build_module, method_folder
from lsr_ext.training.datamodule import BlockDataModule
from lsr_ext.training.denormals import flushed_denormals
from lsr_ext.training.own_maps import own_maps
from lsr_ext.training.pixel_labels import pseudo_masks

_logger = logging.getLogger(__name__)


@flushed_denormals()
def train(config: RunConfig) -> None:
    """Train each method, into `<output>/<method>/last.ckpt` and TensorBoard events beside it.

    Before a method that learns from own maps comes the one that paints them, whether it is named or not. A method
    cut short goes on from its last checkpoint to the weights an uncut run would have; a finished one is left as it
    is.

    Raises:
        FileNotFoundError, ValueError: faulty data, or an output folder that holds another configuration's run.
    """
    check_output(config)
    data = prepare_data(config)
    write_atomically(_settings_path(config), yaml.safe_dump(_settings(config), sort_keys=False).encode())
    teachers = [METHODS[name].teacher for name in config.methods if METHODS[name].teacher]
    for name in dict.fromkeys([*teachers, *config.methods]):
        _train_method(config, name, data)


def check_output(config: RunConfig) -> None:
    """Refuse to mix two runs in one folder.

    Raises:
        ValueError: the output folder holds a run with other settings.
    """
    path = _settings_path(config)
    if path.exists() and yaml.safe_load(path.read_text(encoding="utf-8")) != _settings(config):
        raise ValueError(f"{path} is of a run with another configuration: choose another output folder")


def build_datamodule(config: RunConfig, name: str, data: PreparedData) -> BlockDataModule:
    """The method's batches, with no other pixel labels than those it may see."""
    training, method = config.training, METHODS[name]
    group_size, groups_per_batch = training.group_size, training.groups_per_batch
    if not method.is_grouped:
        group_size, groups_per_batch = 1, training.ungrouped_batch_size or group_size * groups_per_batch
    if data.patches is not None:
        crops = LandCoverDataset(data.patches, config.data.block_size_px, training.augment)
        any_label = np.zeros(len(crops), np.int64)
        batch_size = group_size * groups_per_batch
        return BlockDataModule(crops, any_label, training.steps, 1, batch_size, config.seed, collate_blocks)
    blocks = _shown_blocks(config, name, data)
    train_set = BlockDataset(blocks, with_masks=blocks.masks is not None, augment=training.augment)
    return BlockDataModule(train_set, blocks.labels, training.steps, group_size, groups_per_batch, config.seed)


def _shown_blocks(config: RunConfig, name: str, data: PreparedData) -> BlockCollection:
    """The training blocks with the pixel labels that the method may see in place of the true masks."""
    pixels = METHODS[name].pixels
    if pixels == "pseudo":
        fractions = expected_fractions(data, data.train.labels)
        return replace(data.train, masks=pseudo_masks(data.train, data.stains, fractions))
    if pixels == "own":
        return replace(data.train, masks=own_maps(config, name, data))
    if pixels == "limited":
        return data.train.subset(data.annotated)
    return data.train if pixels == "all" else replace(data.train, masks=None)


def _train_method(config: RunConfig, method: str, data: PreparedData) -> None:
    folder = method_folder(config, method)
    checkpoint = folder / CHECKPOINT_NAME
    training = config.training
    done = _steps_done(checkpoint)
    if done >= training.steps:
        _logger.info("%s: already trained", method)
        return
    _logger.info("%s: training from step %d to %d", method, done, training.steps)
    trainer = lightning.Trainer(
        accelerator=training.accelerator,
        devices=training.devices,
        max_epochs=1,
        gradient_clip_val=training.gradient_clip_norm,
        log_every_n_steps=training.log_every_steps,
        use_distributed_sampler=False,
        deterministic="warn",
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[_checkpoints(folder, training.checkpoint_every_steps), RichProgressBar()],
        enable_model_summary=False,
    )
    module, datamodule = build_module(config, method, data), build_datamodule(config, method, data)
    if not done:
        module.network.fit_norms(_random_images(datamodule))
    trainer.fit(
        module,
        datamodule=datamodule,
        ckpt_path=checkpoint if done else None,
        weights_only=True,
    )
    trainer.save_checkpoint(checkpoint)


def _random_images(datamodule: BlockDataModule) -> torch.Tensor:
    """As many training blocks of any label as a batch holds."""
    blocks, batch_size = datamodule.train_set, datamodule.group_size * datamodule.groups_per_batch
    chosen = np.random.default_rng(datamodule.seed).permutation(len(blocks))[:batch_size]
    return torch.stack([blocks[index]["image"] for index in chosen.tolist()])


def _checkpoints(folder: Path, every_steps: int) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder,
        filename=Path(CHECKPOINT_NAME).stem,
        every_n_train_steps=every_steps,
        enable_version_counter=False,
    )


def _steps_done(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    return torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]


def _settings_path(config: RunConfig) -> Path:
    return config.output / "config.yaml"


def _settings(config: RunConfig) -> dict:
    """What the weights depend on: a run may be moved, given more methods or scored otherwise."""
    return config.model_dump(mode="json", exclude={"output", "shared", "methods", "evaluation"})
