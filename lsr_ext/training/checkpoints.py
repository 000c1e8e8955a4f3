"""When a training writes checkpoints, and when it stops before its last step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from lsr_ext.config import TrainingConfig
from lsr_ext.training.folders import BEST_NAME, CHECKPOINT_NAME
from lsr_ext.training.validation import MONITORED

STOPPED_EARLY = "lsr_ext.stopped_early"  # key of a checkpoint


def make_callbacks(training: TrainingConfig, folder: Path) -> list[Callback]:
    """Checkpoints to resume from and, where they are asked for, of the best weights, and the early stop."""
    callbacks: list[Callback] = []
    monitor = {"monitor": f"validation/{training.monitor}", "mode": MONITORED[training.monitor]}
    if training.patience is not None:
        stopping = EarlyStopping(**monitor, patience=training.patience, check_on_train_epoch_end=False)
        callbacks += [stopping, _NoteOfStop(stopping)]
    if training.keep == "best":
        # By a validation, where the monitored value is new.
        best = ModelCheckpoint(
            folder,
            filename=Path(BEST_NAME).stem,
            **monitor,
            save_weights_only=True,
            every_n_epochs=1,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        callbacks.append(best)
    return [*callbacks, _LastCheckpoint(folder, training.checkpoint_every_steps, training.validate_every_steps)]


class _LastCheckpoint(ModelCheckpoint):
    """The checkpoint to resume from. At a step with a validation it is written after it.

    Lightning does not validate again when it resumes from a checkpoint that was written before, so the best
    weights and the early stop of a resumed run would be others.
    """

    def __init__(self, folder: Path, every_steps: int, validate_every_steps: int | None) -> None:
        super().__init__(
            folder,
            filename=Path(CHECKPOINT_NAME).stem,
            every_n_train_steps=every_steps,
            enable_version_counter=False,
        )
        self._path, self._every_steps, self._validate_every_steps = (
            folder / CHECKPOINT_NAME,
            every_steps,
            validate_every_steps,
        )

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        if self._validate_every_steps is None or trainer.global_step % self._validate_every_steps:
            super().on_train_batch_end(trainer, *args)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.global_step % self._every_steps == 0:
            trainer.save_checkpoint(self._path)


class _NoteOfStop(Callback):
    """Write into a checkpoint whether the training stopped early, so that it is not resumed."""

    def __init__(self, stopping: EarlyStopping) -> None:
        self._stopping = stopping

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[STOPPED_EARLY] = self._stopping.wait_count >= self._stopping.patience
