"""Train every method of a configuration; the same call again resumes or skips what was done."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from lsr_ext.config import METHODS, EvaluationConfig, RunConfig, TrainingConfig
from lsr_ext.files import write_atomically
from lsr_ext.inference import TrainedModel, choose_device, load_model
from lsr_ext.inference.model_file import DESCRIPTION_NAME
from lsr_ext.sources import TrainingData, prepare_data
from lsr_ext.training.build import build_batches, build_module, build_optimizer, describe_network
from lsr_ext.training.datamodule import BlockDataModule
from lsr_ext.training.denormals import flushed_denormals
from lsr_ext.training.finish import describe_prediction, make_model
from lsr_ext.training.folders import CHECKPOINT_NAME, method_folder, model_folder
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.pixel_labels import blocks_for

_logger = logging.getLogger(__name__)


@flushed_denormals()
def train(config: RunConfig) -> None:
    """Train each method, into `<output>/<method>/model/`, with its checkpoint and TensorBoard events beside it.

    Before a method of self-training comes the one whose predictions it learns from, whether it is named or not. A
    method that was cut short goes on from its last checkpoint to the weights an uncut run would have; a finished
    one is left as it is.

    Raises:
        FileNotFoundError, ValueError: faulty data, or an output folder that holds another configuration's run.
    """
    check_output(config)
    build_optimizer(config.training.optimizer)
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


def _train_method(config: RunConfig, name: str, data: TrainingData) -> None:
    """Train a method to the end, and write its model."""
    method, training = METHODS[name], config.training
    folder, described = method_folder(config.output, name), model_folder(config.output, name) / DESCRIPTION_NAME
    done = _steps_done(folder / CHECKPOINT_NAME)
    if done >= training.steps and described.exists():
        _logger.info("%s: already trained", name)
        _update_model(described.parent, config.evaluation, data.block_size_px)
        return
    described.unlink(missing_ok=True)  # a model of a shorter training must not be taken for this one's
    device = choose_device(training.accelerator)
    teacher = method.teacher and model_folder(config.output, method.teacher)
    blocks = blocks_for(method, data, folder, teacher, device)
    module = build_module(method, data, training, config.loss, config.joint, config.seed)
    _logger.info("%s: training from step %d to %d", name, done, training.steps)
    _fit(module, build_batches(method, blocks, training, config.seed, folder), training, folder, done)
    model = make_model(
        module.network,
        describe_network(training, data.train),
        data,
        describe_prediction(config.evaluation, data.block_size_px),
        config.evaluation.decoding,
        f"{config.data.source}: {len(data.train)} blocks; {name}, {training.steps} steps, seed {config.seed}",
        seed=config.seed,
        device=device,
    )
    rank_zero_only(model.save)(model_folder(config.output, name))


def _update_model(folder: Path, evaluation: EvaluationConfig, block_size_px: int) -> None:
    """Give a trained model the windows and the decoding of today's configuration, which it is scored with."""
    model = load_model(folder)
    about = model.description
    decoding = about.decoding.model_copy(update={"kind": evaluation.decoding})
    changes = {"prediction": describe_prediction(evaluation, block_size_px), "decoding": decoding}
    if (about.prediction, about.decoding) != tuple(changes.values()):
        TrainedModel(model.network, about.model_copy(update=changes)).save(folder)


def _fit(
    module: SegmentationModule, batches: BlockDataModule, training: TrainingConfig, folder: Path, done: int
) -> None:
    """Give the module its trained weights: by the steps that are left, or from its checkpoint if none are."""
    checkpoint = folder / CHECKPOINT_NAME
    if done >= training.steps:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        module.load_state_dict(content["state_dict"])
        return
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
    if not done:
        module.network.fit_norms(batches.random_images())
    trainer.fit(module, datamodule=batches, ckpt_path=checkpoint if done else None, weights_only=True)
    trainer.save_checkpoint(checkpoint)


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
