"""How a training is executed on the machine: precision, arithmetic, processes and logs."""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lsr_ext.config import TrainingConfig
from lsr_ext.inference import choose_device

_MODULES = {"wandb": "wandb", "mlflow": "mlflow"}  # that a logger needs beside the extra [train]
_logger = logging.getLogger(__name__)


def check_execution(training: TrainingConfig) -> None:
    """Refuse what this machine or this Python does not have, before data are read.

    Raises:
        ValueError: an accelerator that is not there, or a precision that it does not have.
        ModuleNotFoundError: a logger whose module is not installed.
    """
    device = choose_device(training.accelerator)
    if training.precision == "16-mixed" and device.type == "cpu":
        raise ValueError("training.precision: 16-mixed needs a GPU; on the CPU use bf16-mixed or 32")
    for name in training.loggers:
        module = _MODULES.get(name)
        if module is None:
            continue
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"the logger {name!r} needs the module {error.name!r}: pip install lsr_ext[{name}]",
                name=error.name,
            ) from error


def choose_arithmetic(training: TrainingConfig) -> None:
    """Set how float32 is computed on a GPU, and that no memory is filled for nothing."""
    torch.set_float32_matmul_precision("high" if training.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = training.tf32
    # Deterministic algorithms fill each new tensor with NaN, which no network needs: 5 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False


def describe_execution(training: TrainingConfig, workers: int) -> str:
    """What was chosen, in a line for the log."""
    device = choose_device(training.accelerator)
    parts = [f"on {device.type}", f"precision {training.precision}"]
    if device.type == "cuda":
        parts += [
            f"TF32 {'on' if training.tf32 else 'off'}",
            f"cudnn.benchmark {'on' if training.cudnn_benchmark else 'off'}",
        ]
    parts += ["channels last"] * training.channels_last + ["compiled"] * training.compile
    return ", ".join([*parts, f"blocks read by {_count(workers)}"])


def choose_workers(training: TrainingConfig, reads_files: bool) -> int:
    """The number of processes that read blocks ahead.

    Args:
        training: its `workers`, where it has some.
        reads_files: whether blocks are read from files as they are needed.
    """
    if training.workers is not None:
        return training.workers
    if not reads_files:
        return 0  # blocks are cut from memory, so workers would gain nothing
    devices = training.devices if isinstance(training.devices, int) else max(1, torch.cuda.device_count())
    return max(1, (_processors() - 1) // devices)


def make_loggers(training: TrainingConfig, folder: Path) -> list[Logger]:
    """The loggers that are named, with their files in a method's folder."""
    return [_make_logger(name, folder) for name in training.loggers]


def _make_logger(name: str, folder: Path) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="")
    if name == "csv":
        # A folder for each start, because a logger empties the one that it is given.
        return CSVLogger(folder, name="curves", version=f"{len(list(folder.glob('curves/*'))):04d}")
    run = f"{folder.parent.name}/{folder.name}"
    if name == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=run, save_dir=folder, project="lsr_ext", resume="allow")
    from lightning.pytorch.loggers import MLFlowLogger

    return MLFlowLogger("lsr_ext", run_name=run, save_dir=str(folder / "mlruns"))


def _processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(workers: int) -> str:
    return {0: "this process", 1: "1 worker"}.get(workers, f"{workers} workers")
