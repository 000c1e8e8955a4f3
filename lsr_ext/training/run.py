"""Train every method of a configuration; the same call again resumes or skips what was done."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning
import torch
import yaml
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lsr_ext.config import EXECUTION, METHODS, RunConfig, TrainingConfig
from lsr_ext.files import remove_unfinished, write_atomically
from lsr_ext.inference import TrainedModel, choose_device, load_model
from lsr_ext.inference.model_file import DESCRIPTION_NAME, read_description
from lsr_ext.sources import TrainingData, prepare_data
from lsr_ext.sources.training_data import describe_labels
from lsr_ext.training.build import build_batches, build_module, build_optimizer
from lsr_ext.training.checkpoint_files import WholeCheckpointIO, read_last
from lsr_ext.training.checkpoints import STOPPED_EARLY, make_callbacks
from lsr_ext.training.datamodule import BlockDataModule
from lsr_ext.training.denormals import flushed_denormals
from lsr_ext.training.execution import check_execution, choose_arithmetic, describe_execution, make_loggers
from lsr_ext.training.finish import describe_prediction, make_model
from lsr_ext.training.folders import BEST_NAME, CHECKPOINT_NAME, method_folder, model_folder
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.network import describe_network, trusted_packages
from lsr_ext.training.pixel_labels import blocks_for
from lsr_ext.training.same_data import keep_to_data

# The network is cast by this module for bf16-true: Lightning's would round the targets of a batch too. Other names
# are Lightning's own.
_LIGHTNING_PRECISION = {"32": "32-true", "bf16-true": "32-true"}
# Of a section of data. What masks say is compared by its content.
_NOT_LEARNT_FROM = ("cache_gb", "cache_folder", "memory_gb", "limit", "mask_classes")
_logger = logging.getLogger(__name__)


@flushed_denormals()
def train(config: RunConfig) -> None:
    """Train each method, into `<output>/<method>/model/`, with its checkpoint and TensorBoard events beside it.

    Before a method of self-training comes the one whose predictions it learns from, whether it is named or not. A
    method that was cut short goes on from its last checkpoint to the weights an uncut run would have; a finished
    one is left as it is.

    Raises:
        FileNotFoundError, ValueError: faulty data, an output folder that holds a run of another configuration
            or on other data, or another process that trains into it.
    """
    check_output(config)
    build_optimizer(config.training.optimizer)
    check_execution(config.training)
    choose_arithmetic(config.training)
    with _alone_in(config.output):
        _train_methods(config)


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """Hold the folder: two processes would write the same checkpoints. The ranks of one training share it."""
    if rank_zero_only.rank != 0:
        yield
        return
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".train.lock", timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"another process is training into {output}") from error


def _train_methods(config: RunConfig) -> None:
    data = prepare_data(config)
    keep_to_data(config, data)
    for line in describe_labels(data):
        _logger.info("%s", line)
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
    if not path.exists():
        return
    before, now = yaml.safe_load(path.read_text(encoding="utf-8")), _settings(config)
    for name in _NOT_LEARNT_FROM:  # earlier versions wrote some
        before.get("data", {}).pop(name, None)
    if keys := _differences(before, now):
        named = "; ".join(f"{key} was {_get(before, key)}, now it is {_get(now, key)}" for key in keys)
        raise ValueError(f"{path} is of a run with another configuration ({named}): choose another output folder")


def _train_method(config: RunConfig, name: str, data: TrainingData) -> None:
    """Train a method to the end, and write its model."""
    method, training = METHODS[name], config.training
    folder, described = method_folder(config.output, name), model_folder(config.output, name) / DESCRIPTION_NAME
    rank_zero_only(remove_unfinished)(folder)
    trained_on = _trained_on(config, name, data)
    last = read_last(folder)
    done, is_done = _progress(last, training.steps)
    if described.exists() and (is_done or read_description(described).trained_on == trained_on):
        _logger.info("%s: already trained", name)
        _update_model(described.parent, config, data.block_size_px)
        return
    if described.exists() and last is None:
        raise ValueError(
            f"{described.parent} is a model of another training ({read_description(described).trained_on}), and "
            "its checkpoint is gone: move it, or choose another output folder"
        )
    described.unlink(missing_ok=True)  # a model of a shorter training must not be taken for this one's
    device = choose_device(training.accelerator)
    teacher = method.teacher and model_folder(config.output, method.teacher)
    blocks = blocks_for(method, data, folder, teacher, device, trusted_packages(training.network))
    module = build_module(method, data, training, config.loss, config.joint, config.seed)
    batches = build_batches(
        method,
        blocks,
        training,
        config.seed,
        folder,
        by_numbers=config.loss.targets == "fractions",
        validation=data.validation,
        resumed=done > 0,
    )
    if not is_done:
        machine = describe_execution(training, batches.feeding.workers)
        _logger.info("%s: training from step %d to %d, %s", name, done, training.steps, machine)
        _fit(module, batches, training, folder, is_resumed=last is not None)
    _load_kept(module, folder, training.keep)
    model = make_model(
        module.network,
        describe_network(training.network, data.train),
        data,
        describe_prediction(config.evaluation, data.block_size_px),
        config.evaluation.decoding,
        trained_on,
        seed=config.seed,
        device=device,
    )
    rank_zero_only(model.save)(model_folder(config.output, name))


def _trained_on(config: RunConfig, name: str, data: TrainingData) -> str:
    """What a model's description says of its training."""
    steps = config.training.steps
    return f"{config.data.source}: {len(data.train)} blocks; {name}, {steps} steps, seed {config.seed}"


def _update_model(folder: Path, config: RunConfig, block_size_px: int) -> None:
    """Give a trained model the windows and the decoding of today's configuration, which it is scored with."""
    model = load_model(folder, packages=trusted_packages(config.training.network))
    about = model.description
    decoding = about.decoding.model_copy(update={"kind": config.evaluation.decoding})
    changes = {"prediction": describe_prediction(config.evaluation, block_size_px), "decoding": decoding}
    if (about.prediction, about.decoding) != tuple(changes.values()):
        TrainedModel(model.network, about.model_copy(update=changes)).save(folder)


def _fit(
    module: SegmentationModule, batches: BlockDataModule, training: TrainingConfig, folder: Path, is_resumed: bool
) -> None:
    """Train by the steps that are left since the last checkpoint, or by all.

    Raises:
        SystemExit: the process was asked to end by SIGTERM; with the code that a shell expects then.
    """
    checkpoint = folder / CHECKPOINT_NAME
    if not is_resumed and hasattr(module.network, "fit_norms"):
        module.network.fit_norms(batches.random_images())
    if training.precision == "bf16-true":
        module.network.to(torch.bfloat16)  # not the whole module: the loss keeps its targets in full precision
    trainer = lightning.Trainer(
        accelerator=training.accelerator,
        devices=training.devices,
        strategy=training.strategy,
        precision=_LIGHTNING_PRECISION.get(training.precision, training.precision),
        max_epochs=1,
        accumulate_grad_batches=training.accumulate_batches,
        gradient_clip_val=training.gradient_clip_norm,
        log_every_n_steps=training.log_every_steps,
        use_distributed_sampler=False,
        deterministic="warn",
        benchmark=training.cudnn_benchmark,
        default_root_dir=folder,
        logger=make_loggers(training, folder),
        callbacks=[*make_callbacks(training, folder), RichProgressBar()],
        plugins=[WholeCheckpointIO()],
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=(training.validate_every_steps or training.steps) * training.accumulate_batches,
    )
    try:
        trainer.fit(module, datamodule=batches, ckpt_path=checkpoint if is_resumed else None, weights_only=True)
    except SIGTERMException:
        _logger.warning(
            "%s: ended by SIGTERM at step %d; the same call goes on from the last checkpoint",
            folder.name,
            trainer.global_step,
        )
        raise SystemExit(128 + signal.SIGTERM) from None
    trainer.save_checkpoint(checkpoint)


def _load_kept(module: SegmentationModule, folder: Path, keep: str) -> None:
    """Give the module the trained weights that are kept, in full precision."""
    content = torch.load(
        folder / (BEST_NAME if keep == "best" else CHECKPOINT_NAME), map_location="cpu", weights_only=True
    )
    module.load_state_dict(content["state_dict"])
    module.network.float()
    if keep == "best":
        _logger.info("%s: the weights of step %d are kept", folder.name, content["global_step"])


def _progress(checkpoint: dict | None, steps: int) -> tuple[int, bool]:
    """The steps that were done, and whether the training is over."""
    if checkpoint is None:
        return 0, False
    done = checkpoint["global_step"]
    return done, done >= steps or checkpoint.get(STOPPED_EARLY, False)


def _settings_path(config: RunConfig) -> Path:
    return config.output / "config.yaml"


def _settings(config: RunConfig) -> dict:
    """What the weights depend on: a run may be moved, given more methods, scored or executed otherwise."""
    excluded = {"output": True, "shared": True, "methods": True, "evaluation": True, "training": set(EXECUTION)}
    return config.model_dump(mode="json", exclude=excluded | {"data": set(_NOT_LEARNT_FROM)})


def _differences(before: object, now: object, key: str = "") -> list[str]:
    """The dotted keys whose values differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [key]
    names = dict.fromkeys([*before, *now])
    found = (_differences(before.get(name), now.get(name), f"{key}.{name}".lstrip(".")) for name in names)
    return [key for keys in found for key in keys]


def _get(settings: dict, key: str) -> object:
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings
