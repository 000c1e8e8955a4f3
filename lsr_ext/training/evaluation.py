"""Predict held-out blocks with every trained method, and score the maps beside the low-resolution one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import lightning
import numpy as np
import orjson
import torch

from lsr_ext.data import Block, BlockCollection
from lsr_ext.files import write_atomically
from lsr_ext.metrics import masked_scores, overlap_scores
from lsr_ext.training.config import RunConfig
from lsr_ext.training.run import (
    CHECKPOINT_NAME,
    build_datamodule,
    build_module,
    check_output,
    method_folder,
)
from lsr_ext.training.sources import PreparedData, prepare_data

LOW_RESOLUTION = "low_resolution"


def evaluate(config: RunConfig) -> dict[str, dict]:
    """Score each trained method and the low-resolution map, into `<output>/metrics.json`.

    The maps of a method go to `<output>/<method>/prediction.npz`: `classes` uint8 (N, H, W), the likeliest class
    of every pixel of the held-out blocks, and `fractions` float32 (N, L), the mean probabilities.

    Returns:
        What the file holds: method -> {"iou", "dice", "masked_iou", "masked_dice"}, in [0, 1] or None where
        there is no truth, of the foreground for two classes. For more, the mean over classes, and
        "per_class": class -> the same four.

    Raises:
        FileNotFoundError: a method has no checkpoint yet.
        ValueError: the output folder holds a run with another configuration.
    """
    check_output(config)
    data = prepare_data(config)
    maps = {LOW_RESOLUTION: low_resolution_maps(data)}
    for method in config.methods:
        probabilities = _predict(config, method, data)
        maps[method] = probabilities.argmax(1).astype(np.uint8)
        _save_prediction(method_folder(config, method), maps[method], probabilities.mean((2, 3)))
    metrics = {
        method: score_maps(predicted, data, config.evaluation.boundary_distance_px)
        for method, predicted in maps.items()
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomically(config.output / "metrics.json", orjson.dumps(metrics, option=options))
    return metrics


def load_prediction(config: RunConfig, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The `classes` and `fractions` that `evaluate` wrote."""
    path = method_folder(config, method) / "prediction.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"expected the predictions of method {method!r}, found none at {path}: evaluate first"
        )
    with np.load(path) as content:
        return content["classes"], content["fractions"]


def low_resolution_maps(data: PreparedData) -> np.ndarray:
    """The best that labels alone say: one class for all pixels of a held-out block, uint8 (N, H, W).

    Two classes and one label per block: the labels with the largest expected foreground are foreground, as many
    as bring the foreground of the training blocks closest to its expected area. (By the likeliest class a rare
    foreground would be nowhere.) Otherwise: the likeliest class.
    """
    if len(data.train.classes) == 2 and data.train.labels.ndim == 1:
        labels = data.test.labels
        is_foreground = _foreground_labels(data)[labels] & (labels >= 0)
        classes = np.where(is_foreground, data.foreground, 1 - data.foreground)
    else:
        classes = expected_fractions(data).argmax(1)
    first = data.test.blocks[0]
    shape = (len(classes), first.height, first.width)
    return np.broadcast_to(classes.astype(np.uint8)[:, None, None], shape)


def expected_fractions(data: PreparedData) -> np.ndarray:
    """Each held-out block's expected class fractions by its labels, (N, L).

    Where a class's label is unknown, it has an equal share of what the known ones leave.
    """
    mean = data.distribution.mean.numpy()
    labels = data.test.labels.reshape(len(data.test), -1)
    labels = np.broadcast_to(labels, (len(labels), mean.shape[1]))
    known = labels >= 0
    fractions = np.where(known, mean[labels, np.arange(mean.shape[1])], 0.0)
    rest = np.clip(1 - fractions.sum(1, keepdims=True), 0, None)
    return np.where(known, fractions, rest / np.maximum((~known).sum(1, keepdims=True), 1))


def stitch(blocks: list[Block], maps: np.ndarray) -> dict[int, np.ndarray]:
    """Put maps of blocks in place: image index -> the map of the rectangle that its blocks fill."""
    stitched = {}
    for image in dict.fromkeys(block.image for block in blocks):
        members = [(block, maps[i]) for i, block in enumerate(blocks) if block.image == image]
        left, top = (min(getattr(block, side) for block, _ in members) for side in "xy")
        right = max(block.x + block.width for block, _ in members)
        bottom = max(block.y + block.height for block, _ in members)
        region = np.zeros((bottom - top, right - left, *maps.shape[3:]), dtype=maps.dtype)
        for block, part in members:
            region[block.y - top :, block.x - left :][: block.height, : block.width] = part
        stitched[image] = region
    return stitched


def cut_blocks_of(collection: BlockCollection, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The parts (N, H, W, ...) of per-image arrays, such as the images or the masks, that the blocks cover."""
    return np.stack([block.cut(arrays[block.image]) for block in collection.blocks])


def score_maps(maps: np.ndarray, data: PreparedData, boundary_distance_px: float) -> dict:
    """Scores of maps (N, H, W) of the held-out blocks, in the form that `evaluate` describes."""
    names = ("iou", "dice", "masked_iou", "masked_dice")
    if data.test.masks is None:
        return dict.fromkeys(names)
    num_classes = len(data.test.classes)
    # Whole regions: a boundary between two blocks is a boundary too.
    truth = list(stitch(data.test.blocks, cut_blocks_of(data.test, data.test.masks)).values())
    predicted = list(stitch(data.test.blocks, maps).values())
    overlap = reduce(add, (overlap_scores(p, t, num_classes) for p, t in zip(predicted, truth, strict=True)))
    masked = masked_scores(predicted, truth, boundary_distance_px, num_classes)
    values = dict(zip(names, (overlap.iou, overlap.dice, masked.iou, masked.dice), strict=True))
    if num_classes == 2:
        return {name: _number(value[data.foreground]) for name, value in values.items()}
    per_class = {
        label: {name: _number(value[index]) for name, value in values.items()}
        for index, label in enumerate(data.test.classes)
    }
    return {name: _number(np.nanmean(value)) for name, value in values.items()} | {"per_class": per_class}


def _predict(config: RunConfig, method: str, data: PreparedData) -> np.ndarray:
    """Class probabilities of the held-out blocks, float32 (N, L, H, W)."""
    checkpoint = method_folder(config, method) / CHECKPOINT_NAME
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint of method {method!r}, found none at {checkpoint}: train first"
        )
    module = build_module(config, method, data)
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    trainer = lightning.Trainer(
        accelerator=config.training.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = trainer.predict(module, datamodule=build_datamodule(config, method, data))
    return torch.cat(batches).cpu().numpy()


def _save_prediction(folder: Path, classes: np.ndarray, fractions: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, classes=classes, fractions=fractions)
    write_atomically(folder / "prediction.npz", buffer.getvalue())


def _foreground_labels(data: PreparedData) -> np.ndarray:
    """Which labels mean foreground, bool (Z,)."""
    expected = data.distribution.mean[:, data.foreground].numpy()
    counts = np.bincount(data.train.labels[data.train.labels >= 0], minlength=len(expected))
    order = np.argsort(-expected, kind="stable")
    # Blocks that are foreground when the first 0, 1, ..., Z labels are.
    areas = np.concatenate([[0], np.cumsum(counts[order])])
    is_foreground = np.zeros(len(expected), dtype=bool)
    is_foreground[order[: np.abs(areas - counts @ expected).argmin()]] = True
    return is_foreground


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
