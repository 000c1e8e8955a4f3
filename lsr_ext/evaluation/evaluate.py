"""Predict held-out images with every trained method, and score the maps beside those of the baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from lsr_ext.config import RunConfig
from lsr_ext.data import BlockCollection
from lsr_ext.evaluation.fraction_errors import fraction_errors, map_fractions
from lsr_ext.evaluation.low_resolution import low_resolution_maps
from lsr_ext.evaluation.scoring import score_maps, score_raters
from lsr_ext.files import write_atomically, written_whole
from lsr_ext.inference import PredictionDescription, TrainedModel, choose_device, load_model, predict_rectangles
from lsr_ext.inference.stitching import cut_rectangles, rectangles_of
from lsr_ext.progress import track_progress
from lsr_ext.sources import TrainingData, prepare_data
from lsr_ext.sources.mask_ids import warn_of_other_order
from lsr_ext.training.finish import describe_prediction
from lsr_ext.training.folders import method_folder, model_folder
from lsr_ext.training.network import trusted_packages
from lsr_ext.training.run import check_output
from lsr_ext.training.same_data import check_same_data

LOW_RESOLUTION, DECONVOLUTION, L2, INTER_RATER = "low_resolution", "deconvolution", "l2", "inter_rater"


def evaluate(config: RunConfig) -> dict[str, dict]:
    """Score each trained method, the low-resolution map and what colour alone gives, into `<output>/metrics.json`.

    The maps of a method go to `<output>/<method>/prediction.npz`: `classes` uint8 (N, H, W), the class of
    every pixel of the held-out blocks, and `fractions` float32 (N, L), the mean probabilities.

    Returns:
        What the file holds: method -> {"iou", "dice", "masked_iou", "masked_dice"}, in [0, 1] or None where
        there is no truth, of the foreground for two classes, else the mean over classes; "f1" of cells, the mean
        over their classes, where there are dots; "fraction_error", the mean over labels of "fraction_errors":
        label -> error, where blocks have labels: lower is better, and it needs no pixel truth;
        and for more than two classes "per_class": class -> the scores.

    Raises:
        FileNotFoundError: a method is not trained yet.
        ValueError: the output folder holds a run of another configuration, or on other data.
    """
    check_output(config)
    data = prepare_data(config)
    check_same_data(config, data)
    data = data.readable()
    warn_of_other_order(data)
    maps = baseline_maps(data)
    fractions = {name: map_fractions(found, len(data.test.classes)) for name, found in maps.items()}
    prediction = describe_prediction(config.evaluation, data.block_size_px)
    device = choose_device(config.training.accelerator)
    for method in config.methods:
        model = load_model(model_folder(config.output, method), device, trusted_packages(config.training.network))
        decoding = config.evaluation.decoding
        maps[method], fractions[method] = predict_blocks(model, data.test, prediction, decoding)
        _save_prediction(method_folder(config.output, method), maps[method], fractions[method])
    metrics = {
        method: score_maps(predicted, data, config.evaluation) | _fraction_scores(fractions[method], data)
        for method, predicted in track_progress(maps.items(), "scoring", total=len(maps), least=2)
    }
    if agreement := score_raters(data):
        metrics[INTER_RATER] = agreement
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomically(config.output / "metrics.json", orjson.dumps(metrics, option=options))
    return metrics


def baseline_maps(data: TrainingData) -> dict[str, np.ndarray]:
    """Maps (N, H, W) of the held-out blocks that need no training: by labels, and with stains by colour."""
    maps = {LOW_RESOLUTION: low_resolution_maps(data)}
    if data.stains is None:
        return maps
    from lsr_ext.baselines import deconvolution_map, l2_map

    separations = {DECONVOLUTION: deconvolution_map} if data.stains.absorb_light else {}  # not of fluorescence
    for name, separate in (separations | {L2: l2_map}).items():
        regions = {
            image: separate(np.ascontiguousarray(region.cut(data.test.images[image])), data.stains)
            for image, region in rectangles_of(data.test.blocks).items()
        }
        maps[name] = cut_rectangles(data.test.blocks, regions)
    return maps


def load_prediction(output: Path, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The `classes` and `fractions` that `evaluate` wrote."""
    path = method_folder(output, method) / "prediction.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"expected the predictions of method {method!r}, found none at {path}: evaluate first"
        )
    with np.load(path) as content:
        return content["classes"], content["fractions"]


def predict_blocks(
    model: TrainedModel, blocks: BlockCollection, prediction: PredictionDescription, decoding: str
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the rectangle that each image's blocks fill at once, and cut it into the blocks.

    Returns:
        The class maps, uint8 (N, H, W), and the mean probabilities, float32 (N, L), of the blocks.
    """
    regions = rectangles_of(blocks.blocks)
    predicted = predict_rectangles(model, blocks.images, list(regions.values()), prediction)
    classes, fractions = {}, np.empty((len(blocks), len(blocks.classes)), np.float32)
    for (image, region), probabilities in zip(regions.items(), predicted, strict=True):
        classes[image] = model.decode(probabilities, decoding)
        for index, block in enumerate(blocks.blocks):
            if block.image == image:
                place = replace(block, x=block.x - region.x, y=block.y - region.y)
                fractions[index] = place.cut(probabilities.transpose(1, 2, 0)).mean((0, 1))
    return cut_rectangles(blocks.blocks, classes), fractions


def _fraction_scores(fractions: np.ndarray, data: TrainingData) -> dict[str, object]:
    """The error of each label and their mean; nothing where no held-out block has a label."""
    errors = fraction_errors(fractions, data.test.labels, data.distribution)
    return {"fraction_error": float(np.mean(list(errors.values()))), "fraction_errors": errors} if errors else {}


def _save_prediction(folder: Path, classes: np.ndarray, fractions: np.ndarray) -> None:
    with written_whole(folder / "prediction.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, classes=classes, fractions=fractions)
