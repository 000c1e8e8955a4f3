"""Scores of slides' predictions against GeoJSON truth, read strip by strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from lsr_ext.data.annotation_map import AnnotationMap, read_areas
from lsr_ext.inference.prediction import Prediction, open_prediction
from lsr_ext.inference.slide_store import NOT_PREDICTED
from lsr_ext.metrics import DotSet, OverlapScores, match_regions, read_dots
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.progress import track_progress
from lsr_ext.report.score_cells import COUNTS, STATISTICS
from lsr_ext.report.score_regions import SCORERS, statistic
from lsr_ext.report.score_tables import ScoreSheet, merge_rows, score_rows, scores_table, write_scores

_PREDICTIONS, _TRUTHS = (".zarr",), (".geojson", ".json", ".gz")
_DOTS = (".geojson", ".json", ".csv", ".txt", ".tsv")


def score_slide_regions(
    predictions: Path,
    truth: Path,
    output: Path,
    *,
    outside: str | None = None,
    distance_px: float = 240.0,
    qupath_bounds: str = "auto",
    resamples: int = 2000,
    seed: int = 0,
) -> ScoreSheet:
    """Score predictions of slides against outlined areas, pixel by pixel of the prediction.

    A pixel's truth is the class of the last area over its centre. Pixels without truth are not counted; those that
    were not predicted count as missed. Scores near boundaries need truth everywhere, so `outside`.

    Args:
        predictions, truth: `NAME.zarr` and `NAME.geojson`, or folders of them that are paired by name.
        output: folder of scores.csv and scores.json.
        outside: the class of pixels that no area holds; None: they have no truth.
        distance_px: how far the bands around boundaries reach.
        qupath_bounds: whether the truth counts from the corner of the slide's bounds: "auto", "on" or "off".
        resamples, seed: of the bootstrap over slides.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: files that cannot be read or paired, predictions of different classes, or truth of a class that
            the predictions do not have, or of none at all.
    """
    files = pair_files((predictions, _PREDICTIONS), (truth, _TRUTHS))
    opened = {name: open_prediction(path) for name, (path, _) in files.items()}
    classes = _common_classes(opened)
    kinds = SCORERS if outside is not None else {"": SCORERS[""]}
    scores: dict[str, dict[str, OverlapScores]] = {prefix: {} for prefix in kinds}
    for name, (_, path) in track_progress(list(files.items()), "scoring", least=2):
        true = truth_map(opened[name], path, outside, qupath_bounds)
        predicted = _Comparable(opened[name], true)
        for prefix, (scorer, _) in kinds.items():
            found = scorer(predicted, true, distance_px, len(classes) + 1)
            scores[prefix][name] = OverlapScores(*(counts[:-1] for counts in (found.tp, found.fp, found.fn)))
    rows = merge_rows(
        *(
            score_rows(
                scores[prefix], {prefix + kind: statistic(kind) for kind in names}, classes, resamples, seed
            )
            for prefix, (_, names) in kinds.items()
        )
    )
    settings = {"predictions": predictions, "truth": truth, "outside": outside, "distance_px": distance_px}
    write_scores(output, rows, settings | {"resamples": resamples, "seed": seed})
    return ScoreSheet(rows, scores_table(rows, "predictions of slides against outlined areas"))


def score_slide_cells(
    predictions: Path,
    dots: Path,
    output: Path,
    *,
    min_area_px: int = 1,
    dilation_px: float = 0.0,
    columns: Sequence[str] = ("x", "y", "class", "score"),
    qupath_bounds: str = "auto",
    resamples: int = 2000,
    seed: int = 0,
) -> ScoreSheet:
    """Score the regions of predictions of slides against dots, by `lsr_ext.metrics.match_regions` (Eq. 12 and 13).

    Every class of the dots must be one of the prediction's; other classes of the prediction are not scored.

    Args:
        predictions, dots: `NAME.zarr`, and points in level-0 pixels as of `read_dots`, or folders of them.
        output: folder of scores.csv and scores.json.
        min_area_px, dilation_px: as for `match_regions`, in pixels of the prediction.
        columns: of tables, as for `read_dots`.
        qupath_bounds: whether dots of QuPath, all but CSV, count from the corner of the slide's bounds: "auto",
            "on" or "off".
        resamples, seed: of the bootstrap over slides.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: files that cannot be read or paired, no dots, or dots of another class or outside the slide.
    """
    files = pair_files((predictions, _PREDICTIONS), (dots, _DOTS))
    opened = {name: open_prediction(path) for name, (path, _) in files.items()}
    marked = {name: _in_pixels(opened[name], path, columns, qupath_bounds) for name, (_, path) in files.items()}
    ids = _classes_of(marked, _common_classes(opened))
    scores = {
        name: match_regions(
            opened[name].labels, marked[name], ids, min_area_px=min_area_px, dilation_px=dilation_px
        ).scores
        for name in track_progress(list(files), "scoring", least=2)
    }
    rows = score_rows(scores, STATISTICS, list(ids), resamples, seed, COUNTS)
    settings = {"predictions": predictions, "dots": dots, "min_area_px": min_area_px, "dilation_px": dilation_px}
    write_scores(output, rows, settings | {"resamples": resamples, "seed": seed})
    return ScoreSheet(rows, scores_table(rows, "predictions of slides against dots"))


def truth_map(prediction: Prediction, path: Path, outside: str | None, qupath_bounds: str) -> AnnotationMap:
    """The truth of a slide in the pixels of its prediction; the id of pixels without truth is L.

    Raises:
        ValueError: no area, or one outside the slide or of a class that the prediction does not have.
    """
    ids = {name: index for index, name in enumerate(prediction.classes)}
    if outside is not None and outside not in ids:
        raise ValueError(f"expected a class outside of {', '.join(ids)}, got {outside!r}")
    areas = read_areas(path, prediction.qupath_corner(qupath_bounds))
    height, width = np.array(prediction.labels.shape) * prediction.step[::-1]
    whole = shapely.box(0, 0, width, height)
    for number, area in enumerate(areas, start=1):
        if area.kind not in ids:
            found = "no class" if area.kind is None else repr(area.kind)
            raise ValueError(f"{path}, area {number}: expected one of the classes {', '.join(ids)}, got {found}")
        if not area.shape.intersects(whole):
            raise ValueError(f"{path}, area {number}: expected areas on the slide, it lies outside")
    if not areas:
        raise ValueError(f"{path}: expected outlined areas, found none")
    return AnnotationMap(
        areas, ids, prediction.labels.shape, prediction.step, len(ids) if outside is None else ids[outside]
    )


class _Comparable:
    """A prediction as `overlap_scores` takes it: the id of what is not predicted, or has no truth, is L."""

    ndim, dtype = 2, np.dtype(np.uint8)

    def __init__(self, prediction: Prediction, truth: AnnotationMap) -> None:
        self._labels, self._truth, self._none = prediction.labels, truth, len(prediction.classes)
        self.shape, self.chunks = prediction.labels.shape, prediction.labels.chunks

    def __getitem__(self, place: Any) -> np.ndarray:
        labels = np.array(self._labels[place])
        labels[labels == NOT_PREDICTED] = self._none
        if self._truth.outside == self._none:
            labels[self._truth[place] == self._none] = self._none
        return labels


def _common_classes(opened: Mapping[str, Prediction]) -> list[str]:
    first = next(iter(opened.values()))
    for prediction in opened.values():
        if prediction.classes != first.classes:
            raise ValueError(
                f"expected predictions of the same classes, got {', '.join(first.classes)} in {first.path} and "
                f"{', '.join(prediction.classes)} in {prediction.path}"
            )
    return first.classes


def _in_pixels(prediction: Prediction, path: Path, columns: Sequence[str], qupath_bounds: str) -> DotSet:
    """Dots in pixels of the prediction."""
    dots = read_dots(path, columns)
    is_of_qupath = path.suffix.lower() != ".csv"
    corner = prediction.qupath_corner(qupath_bounds) if is_of_qupath else (0, 0)
    xy = (dots.xy + np.array(corner)) / np.array(prediction.step)
    return DotSet(xy, dots.classes, dots.scores, source=dots.source, rows=dots.rows)


def _classes_of(marked: Mapping[str, DotSet], classes: Sequence[str]) -> dict[str, int]:
    """The classes of the dots and their ids."""
    for dots in marked.values():
        dots.check_classes(classes)
    names = {str(name) for dots in marked.values() for name in np.unique(dots.classes)}
    if not names:
        raise ValueError("expected dots, found none")
    return {name: index for index, name in enumerate(classes) if name in names}
