"""Train the patch classifier on patches of images with masks or on the blocks of a cohort of slides."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from scipy.stats import rankdata
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from lsr_ext.baselines.patch_classifier import (
    ClassifierSettings,
    PatchClassifier,
    best_device,
    load_patch_classifier,
    read_checkpoint,
)
from lsr_ext.baselines.patch_data import PatchData
from lsr_ext.files import write_atomically

CHECKPOINT_NAME = "classifier.ckpt"
_logger = logging.getLogger(__name__)


class BalancedSampler(Sampler[int]):
    """Draw indices for batches with label 0 in one half and label 1 in the other; unknown labels are never drawn.

    An epoch has about as many draws as there are known labels. The rarer class is repeated several
    times, the other is used in part. Each pass over a class is shuffled again, depending only on (seed, epoch).

    Args:
        labels: (N,) of -1, 0 and 1.
        batch_size: an even number.
        seed: random seed of the order.

    Raises:
        ValueError: other labels, or a class without a patch.
    """

    def __init__(self, labels: np.ndarray, batch_size: int, seed: int = 0) -> None:
        labels = np.asarray(labels)
        if labels.ndim != 1 or not np.isin(labels, (-1, 0, 1)).all():
            raise ValueError(f"expected labels (N,) of 0 and 1, got {labels.shape}: {np.unique(labels)}")
        self._members = [np.flatnonzero(labels == label) for label in (0, 1)]
        counts = [len(members) for members in self._members]
        if not all(counts):
            raise ValueError(f"expected patches of both classes, got {counts[0]} negative, {counts[1]} positive")
        self._half = batch_size // 2
        self.steps = -(-sum(counts) // batch_size)
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return self.steps * 2 * self._half

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to iterate over next; Lightning calls this."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        halves = [self._draw(members, rng).reshape(self.steps, self._half) for members in self._members]
        yield from np.concatenate(halves, axis=1).ravel().tolist()

    def _draw(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count = self.steps * self._half
        passes = [rng.permutation(members) for _ in range(-(-count // len(members)))]
        return np.concatenate(passes)[:count]


def train_patch_classifier(
    dataset: Dataset,
    labels: np.ndarray,
    output: str | Path,
    settings: ClassifierSettings,
    *,
    collate: Callable = default_collate,
    accelerator: str = "auto",
    workers: int = 0,
) -> PatchClassifier:
    """Train a classifier; write OUTPUT/classifier.ckpt and TensorBoard events.

    An interrupted run continues after its last whole epoch and ends with the same weights as an uninterrupted one.
    A finished run is loaded.

    Args:
        dataset: items with `image` (3, S, S) float32 in [0, 1] and `label`: a `PatchDataset`, or a
            `CohortDataset` of patches with two labels.
        labels: int (N,) of its items: 0, 1 or -1 = unknown.
        output: folder.
        settings: see `ClassifierSettings`.
        collate: makes a batch of items: `CohortDataset.collate` for a cohort.
        accelerator: Lightning's accelerator.
        workers: number of processes that read patches.

    Returns:
        The classifier, ready to predict.

    Raises:
        ValueError: other labels, labels of only one class, or an output folder with other settings or labels.
    """
    output = Path(output)
    checkpoint = output / CHECKPOINT_NAME
    sampler = BalancedSampler(labels, settings.batch_size, settings.seed)
    lightning.seed_everything(settings.seed, verbose=False)
    data_digest = hashlib.sha256(np.asarray(labels, np.int64).tobytes()).hexdigest()
    module = PatchClassifier(settings, data_digest)
    done = _steps_done(checkpoint, dict(module.hparams))
    if done >= sampler.steps * settings.epochs:
        _logger.info("%s: already trained", checkpoint)
        return load_patch_classifier(checkpoint)
    loader = DataLoader(
        dataset,
        settings.batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator(),  # its own generator, so that the loader does not use the global one
    )
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=settings.epochs,
        log_every_n_steps=min(10, sampler.steps),
        use_distributed_sampler=False,
        deterministic="warn",
        default_root_dir=output,
        logger=TensorBoardLogger(output, name="", version=""),
        callbacks=[_checkpoints(output), RichProgressBar()],
        enable_model_summary=False,
    )
    trainer.fit(module, loader, ckpt_path=checkpoint if done else None, weights_only=True)
    return load_patch_classifier(checkpoint)


def train_and_score(
    patches: PatchData,
    output: str | Path,
    settings: ClassifierSettings,
    *,
    accelerator: str = "auto",
    workers: int = 0,
) -> dict[str, float | int | None] | None:
    """Train a classifier on patches, and write its scores on the held-out ones to OUTPUT/scores.json.

    Args:
        patches: see `lsr_ext.baselines.patch_data`.
        output: folder of the checkpoint and the scores.
        settings: with the patches' sizes.
        accelerator, workers: as for `train_patch_classifier`, which says what is raised.

    Returns:
        See `evaluate_patches`; None where no patches are held out.
    """
    model = train_patch_classifier(
        patches.train,
        patches.train.labels,
        output,
        settings,
        collate=patches.collate,
        accelerator=accelerator,
        workers=workers,
    )
    if patches.validation is None:
        return None
    scores = evaluate_patches(model.to(best_device()), patches.validation, patches.collate)
    write_atomically(Path(output) / "scores.json", json.dumps(scores, indent=1).encode())
    return scores


@torch.inference_mode()
def evaluate_patches(
    model: PatchClassifier, dataset: Dataset, collate: Callable = default_collate
) -> dict[str, float | int | None]:
    """Score a classifier on the labelled patches of a dataset.

    Returns:
        `patches` and `positive`: their numbers; `auc`: see `roc_auc`; `accuracy`: at a probability of 0.5.

    Raises:
        ValueError: none of the patches could be read.
    """
    model.eval()
    probabilities, labels = [], []
    for batch in DataLoader(dataset, model.settings.batch_size, collate_fn=collate):
        if len(batch["label"]):
            probabilities.append(model(batch["image"].to(model.device)).float().sigmoid().cpu())
            labels.append(batch["label"])
    if not labels:
        raise ValueError(f"expected patches to score, but none of {len(dataset)} could be read")
    found, truth = torch.cat(probabilities).numpy(), torch.cat(labels).numpy()
    found, truth = found[truth >= 0], truth[truth >= 0]
    return {
        "patches": len(truth),
        "positive": int(truth.sum()),
        "auc": roc_auc(truth, found),
        "accuracy": float(((found >= 0.5) == truth).mean()),
    }


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Compute the probability that in a random pair the positive patch scores higher; equal scores count half.

    By ranks: AUC = (R - P (P + 1) / 2) / (P N), R the sum of the P positives' ranks among all P + N.

    Args:
        labels: (K,) of 0 and 1.
        probabilities: (K,).

    Returns:
        A number in [0, 1]; None if a class is missing.
    """
    labels = np.asarray(labels) == 1
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return None
    ranks = rankdata(probabilities)[labels].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def _checkpoints(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder,
        filename=Path(CHECKPOINT_NAME).stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _steps_done(checkpoint: Path, hyper_parameters: dict[str, object]) -> int:
    if not checkpoint.exists():
        return 0
    content = read_checkpoint(checkpoint)
    if content["hyper_parameters"] != hyper_parameters:
        raise ValueError(f"{checkpoint} has other settings or patches: choose another output folder")
    return content["global_step"]
