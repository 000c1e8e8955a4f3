"""Scores of maps of the held-out blocks: areas, boundaries, cells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add

import numpy as np

from lsr_ext.config import EvaluationConfig
from lsr_ext.inference.stitching import cut_blocks_of, rectangles_of, stitch
from lsr_ext.metrics import DotSet, macro, masked_scores, overlap_scores, rater_agreement, score_cells
from lsr_ext.sources import TrainingData
from lsr_ext.sources.training_data import SECOND_RATER, TRUTH

AREA_SCORES = ("iou", "dice", "masked_iou", "masked_dice")
SCORE_TITLES = {
    "iou": "IoU",
    "dice": "DICE",
    "masked_iou": "Masked IoU",
    "masked_dice": "Masked DICE",
    "f1": "F1",
    "fraction_error": "Fraction error",
}
LOWER_IS_BETTER = ("fraction_error",)
RATER_RADIUS_PX = 10.0  # section 3.1.7


def score_maps(maps: np.ndarray, data: TrainingData, evaluation: EvaluationConfig) -> dict:
    """Scores of maps (N, H, W) of the held-out blocks, in the form that `evaluate` describes."""
    scores: dict = dict.fromkeys(AREA_SCORES)
    per_class: dict[str, dict] = {name: {} for name in data.test.classes}
    if data.test.masks is not None:
        _add(scores, per_class, _area_scores(maps, data, evaluation.boundary_distance_px), data.foreground)
    if TRUTH in data.dots:
        f1 = _cell_scores(maps, data, evaluation)
        scores["f1"] = _number(macro(f1))
        for name, value in zip(data.cell_classes, f1, strict=True):
            per_class[name]["f1"] = _number(value)
    if len(per_class) > 2 and any(per_class.values()):
        scores["per_class"] = per_class
    return scores


def score_names(metrics: Mapping[str, Mapping]) -> list[str]:
    """The scores that a table of `evaluate`'s result has as columns: those that some method has."""
    return [name for name in SCORE_TITLES if any(name in scores for scores in metrics.values())]


def score_raters(data: TrainingData) -> dict | None:
    """The agreement of two raters over the held-out images (section 3.1.7); None where there are none."""
    if SECOND_RATER not in data.dots:
        return None
    images = sorted(data.dots[TRUTH])
    raters = {rater: [dots[image] for image in images] for rater, dots in data.dots.items()}
    found = rater_agreement(raters, RATER_RADIUS_PX, tuple(data.cell_classes))
    per_class = {name: {"f1": _number(value)} for name, value in zip(found.classes, found.mean_f1, strict=True)}
    return dict.fromkeys(AREA_SCORES) | {"f1": _number(found.average), "per_class": per_class}


def _area_scores(maps: np.ndarray, data: TrainingData, distance_px: float) -> dict[str, np.ndarray]:
    num_classes = len(data.test.classes)
    # Whole regions: a boundary between two blocks is a boundary too.
    truth = list(stitch(data.test.blocks, cut_blocks_of(data.test, data.test.masks)).values())
    predicted = list(stitch(data.test.blocks, maps).values())
    overlap = reduce(add, (overlap_scores(p, t, num_classes) for p, t in zip(predicted, truth, strict=True)))
    masked = masked_scores(predicted, truth, distance_px, num_classes)
    return dict(zip(AREA_SCORES, (overlap.iou, overlap.dice, masked.iou, masked.dice), strict=True))


def _add(scores: dict, per_class: dict[str, dict], found: Mapping[str, np.ndarray], foreground: int) -> None:
    for name, values in found.items():
        scores[name] = _number(values[foreground] if len(values) == 2 else macro(values))
        for label, value in zip(per_class, values, strict=True):
            per_class[label][name] = _number(value)


def _cell_scores(maps: np.ndarray, data: TrainingData, evaluation: EvaluationConfig) -> np.ndarray:
    """F1 of each class of cells, pooled over the images."""
    regions = rectangles_of(data.test.blocks)
    found = [
        score_cells(
            np.ascontiguousarray(label_map),
            _dots_in(data.dots[TRUTH][image], regions[image]),
            data.cell_classes,
            min_area_px=evaluation.min_area_px,
            dilation_px=evaluation.dilation_px,
        )
        for image, label_map in stitch(data.test.blocks, maps).items()
    ]
    return reduce(add, found).f1()


def _dots_in(dots: DotSet, region: object) -> DotSet:
    """The dots in a rectangle, in its own coordinates."""
    xy = dots.xy - (region.x, region.y)
    inside = ((xy >= 0) & (xy < (region.width, region.height))).all(1)
    return DotSet(xy[inside], dots.classes[inside], source=dots.source, rows=dots.rows[inside])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
