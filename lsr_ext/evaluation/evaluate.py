"""Predict held-out images with every trained method, and score the maps beside those of the baselines."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import orjson

from lsr_ext.config.run import RunConfig
from lsr_ext.data import Block
from lsr_ext.evaluation.low_resolution import low_resolution_maps
from lsr_ext.evaluation.scoring import score_maps, score_raters
from lsr_ext.files import write_atomically
from lsr_ext.inference.decoding import decode
from lsr_ext.inference.rectangles import fit_decoding, load_module, predict_regions
from lsr_ext.inference.stitching import cut_regions, regions_of
from lsr_ext.sources.prepare import prepare_data
from lsr_ext.sources.prepared import PreparedData
from lsr_ext.training.building import method_folder
from lsr_ext.training.run import check_output

LOW_RESOLUTION, DECONVOLUTION, L2, INTER_RATER = "low_resolution", "deconvolution", "l2", "inter_rater"


def evaluate(config: RunConfig) -> dict[str, dict]:
    """Score each trained method, the low-resolution map and what colour alone gives, into `<output>/metrics.json`.

    The maps of a method go to `<output>/<method>/prediction.npz`: `classes` uint8 (N, H, W), the class of
    every pixel of the held-out blocks, and `fractions` float32 (N, L), the mean probabilities.

    Returns:
        What the file holds: method -> {"iou", "dice", "masked_iou", "masked_dice"}, in [0, 1] or None where
        there is no truth, of the foreground for two classes, else the mean over classes; "f1" of cells, the mean
        over their classes, where there are dots; and for more than two classes "per_class": class -> the same.

    Raises:
        FileNotFoundError: a method has no checkpoint yet.
        ValueError: the output folder holds a run with another configuration.
    """
    check_output(config)
    data = prepare_data(config)
    maps = baseline_maps(data)
    for method in config.methods:
        maps[method], fractions = _predict(config, method, data)
        _save_prediction(method_folder(config, method), maps[method], fractions)
    metrics = {method: score_maps(predicted, data, config.evaluation) for method, predicted in maps.items()}
    if agreement := score_raters(data):
        metrics[INTER_RATER] = agreement
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomically(config.output / "metrics.json", orjson.dumps(metrics, option=options))
    return metrics


def baseline_maps(data: PreparedData) -> dict[str, np.ndarray]:
    """Maps (N, H, W) of the held-out blocks that need no training: by labels, and with stains by colour."""
    maps = {LOW_RESOLUTION: low_resolution_maps(data)}
    if data.stains is None:
        return maps
    from lsr_ext.baselines import deconvolution_map, l2_map

    separations = {DECONVOLUTION: deconvolution_map} if data.stains.absorb_light else {}  # not of fluorescence
    for name, separate in (separations | {L2: l2_map}).items():
        regions = {
            image: separate(np.ascontiguousarray(region.cut(data.test.images[image])), data.stains)
            for image, region in regions_of(data.test.blocks).items()
        }
        maps[name] = cut_regions(data.test.blocks, regions)
    return maps


def load_prediction(config: RunConfig, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The `classes` and `fractions` that `evaluate` wrote."""
    path = method_folder(config, method) / "prediction.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"expected the predictions of method {method!r}, found none at {path}: evaluate first"
        )
    with np.load(path) as content:
        return content["classes"], content["fractions"]


def _predict(config: RunConfig, method: str, data: PreparedData) -> tuple[np.ndarray, np.ndarray]:
    """Class maps, uint8 (N, H, W), and mean probabilities, float32 (N, L), of the held-out blocks."""
    module = load_module(config, method, data)
    shift = fit_decoding(config, module, data)
    regions = regions_of(data.test.blocks)
    predicted = predict_regions(config, module, data.test, list(regions.values()))
    classes, fractions = {}, np.empty((len(data.test), len(data.test.classes)), np.float32)
    for image, probabilities in zip(regions, predicted, strict=True):
        classes[image] = decode(probabilities, shift)
        for index, block in enumerate(data.test.blocks):
            if block.image == image:
                place = Block(
                    image, block.x - regions[image].x, block.y - regions[image].y, block.width, block.height
                )
                fractions[index] = place.cut(probabilities.transpose(1, 2, 0)).mean((0, 1))
    return cut_regions(data.test.blocks, classes), fractions


def _save_prediction(folder: Path, classes: np.ndarray, fractions: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, classes=classes, fractions=fractions)
    write_atomically(folder / "prediction.npz", buffer.getvalue())
