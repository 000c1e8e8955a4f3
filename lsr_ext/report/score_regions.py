"""Scores of label maps against label maps, from files: overlap everywhere and near boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from lsr_ext.data.images import IMAGE_SUFFIXES
from lsr_ext.metrics import (
    OverlapScores,
    boundary_iou,
    masked_scores,
    open_label_map,
    overlap_scores,
    trimap_scores,
)
from lsr_ext.metrics.map_files import MAP_SUFFIXES
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.metrics.regions import strip_rows
from lsr_ext.progress import track_progress
from lsr_ext.report.image_files import read_image_like, size_text
from lsr_ext.report.score_tables import ScoreSheet, merge_rows, score_rows, scores_table, write_scores


def score_region_files(
    pred: Path,
    truth: Path,
    classes: Sequence[str],
    output: Path,
    *,
    distance_px: float = 240.0,
    images: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> ScoreSheet:
    """Score predicted label maps against true ones: IoU and Dice, masked scores, trimap and Boundary IoU.

    Writes OUTPUT/scores.csv and scores.json and, with images, OUTPUT/NAME.png: the boundaries drawn on each.

    Args:
        pred, truth, images: a file each, or folders of files that are paired by name.
        classes: names of the ids from 0.
        output: folder, created if needed.
        distance_px: how far the bands around boundaries reach.
        resamples, seed: of the bootstrap over images.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: files that cannot be paired or read, sizes that differ, or a value out of range.
        ModuleNotFoundError: the extra `lsr_ext[metrics]` is not installed, or with images `lsr_ext[train]`.
    """
    if images:
        from lsr_ext.report.overlays import draw_boundaries
        from lsr_ext.report.png import write_figure
    files = pair_files((pred, MAP_SUFFIXES), (truth, MAP_SUFFIXES), (images, IMAGE_SUFFIXES))
    # Of two classes, one boundary shows both.
    drawn = {name: k for k, name in enumerate(classes) if len(classes) > 2 or k == 1}
    scores: dict[str, dict[str, OverlapScores]] = {prefix: {} for prefix in SCORERS}
    for name, (pred_path, true_path, image_path) in track_progress(list(files.items()), "scoring", least=2):
        maps = open_label_map(pred_path), open_label_map(true_path)
        if maps[0].shape != maps[1].shape:
            raise ValueError(f"{pred_path} is {size_text(maps[0])}, {true_path} {size_text(maps[1])}")
        try:
            for prefix, (scorer, _) in SCORERS.items():
                scores[prefix][name] = scorer(*maps, distance_px, len(classes))
        except ValueError as error:
            raise ValueError(f"{pred_path} against {true_path}: {error}") from error
        if image_path:
            image = read_image_like(image_path, maps[1], true_path)
            write_figure(output / f"{name}.png", draw_boundaries(image, *maps, drawn, distance_px), 150)
    rows = merge_rows(
        *(
            score_rows(
                scores[prefix], {prefix + kind: statistic(kind) for kind in kinds}, classes, resamples, seed
            )
            for prefix, (_, kinds) in SCORERS.items()
        )
    )
    settings = {"pred": pred, "truth": truth, "classes": list(classes), "distance_px": distance_px}
    write_scores(output, rows, settings | {"resamples": resamples, "seed": seed})
    return ScoreSheet(rows, scores_table(rows, f"maps against maps, bands of {distance_px:g} px"))


def _whole_maps(pred: Any, truth: Any, _distance_px: float, num_classes: int) -> OverlapScores:
    """Overlap of whole maps, read by strips."""
    rows = strip_rows(truth)
    strips = [slice(top, top + rows) for top in range(0, truth.shape[0], rows)]
    return reduce(
        add,
        (overlap_scores(np.asarray(pred[strip]), np.asarray(truth[strip]), num_classes) for strip in strips),
    )


def statistic(name: str) -> Callable[[OverlapScores], np.ndarray]:
    return lambda scores: getattr(scores, name)


# Prefix of the scores' names -> what counts the pixels, and which scores are made of the counts.
SCORERS: dict[str, tuple[Callable[..., OverlapScores], tuple[str, ...]]] = {
    "": (_whole_maps, ("iou", "dice")),
    "masked_": (masked_scores, ("iou", "dice")),
    "trimap_": (trimap_scores, ("iou",)),
    "boundary_": (boundary_iou, ("iou",)),
}
