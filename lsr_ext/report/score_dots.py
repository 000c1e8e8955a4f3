"""Scores of dots against dots, from files: detections and truth, or raters among one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from lsr_ext.data.images import IMAGE_SUFFIXES, read_image
from lsr_ext.metrics import DotSet, RaterAgreement, macro, rater_agreement, read_dots, score_dots
from lsr_ext.metrics.dot_files import COLUMNS, DOT_SUFFIXES
from lsr_ext.metrics.dot_set import class_names
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.metrics.raters import hit_dots
from lsr_ext.progress import track_progress
from lsr_ext.report.score_tables import Row, ScoreSheet, score_rows, scores_table, write_scores

_STATISTICS = {
    "precision": lambda scores: scores.precision,
    "recall": lambda scores: scores.recall,
    "f1": lambda scores: scores.f1,
}


def score_dot_files(
    sets: Sequence[Path],
    output: Path,
    *,
    radius: float = 10.0,
    method: str = "closest_first",
    images: Path | None = None,
    columns: Sequence[str] = COLUMNS,
    pixel_size: float = 1.0,
    resamples: int = 2000,
    seed: int = 0,
) -> ScoreSheet:
    """Score dots against dots: two sets as detections and truth, more as raters, F1 of each pair.

    Writes OUTPUT/scores.csv and scores.json and, with images, OUTPUT/NAME.png: the matches drawn on each.

    Args:
        sets: two or more files of dots, or folders of files that are paired by name.
        output: folder, created if needed.
        radius, method: as for `lsr_ext.metrics.match_dots`.
        images: a file or a folder, with two sets only.
        columns: as for `read_dots`.
        pixel_size: side of an image's pixel in the dots' unit.
        resamples, seed: of the bootstrap over images.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: fewer than two sets, images with more than two, files that cannot be paired or read, or a value
            out of range.
        ModuleNotFoundError: the extra `lsr_ext[metrics]` is not installed, or with images `lsr_ext[train]`.
    """
    if len(sets) < 2:
        raise ValueError("expected two or more sets of dots, got one")
    if len(sets) > 2 and images:
        raise ValueError("images go with two sets of dots: detections and truth")
    files = pair_files(*((path, DOT_SUFFIXES) for path in sets), (images, IMAGE_SUFFIXES))
    dots = {
        name: [read_dots(path, columns) for path in members[:-1]]
        for name, members in track_progress(list(files.items()), "reading", least=2)
    }
    classes = class_names(each for given in dots.values() for each in given)
    settings = {"dots": list(sets), "radius": radius, "method": method, "resamples": resamples, "seed": seed}
    if len(sets) > 2:
        raters = {str(path): [given[k] for given in dots.values()] for k, path in enumerate(sets)}
        agreement = rater_agreement(raters, radius, classes, method)
        rows, table = _agreement_rows(agreement), _agreement_table(agreement, radius)
    else:
        if images:
            paths = {name: members[-1] for name, members in files.items()}
            _draw(dots, paths, output, classes, radius, method, pixel_size)
        scores = {name: score_dots(*given, radius, classes, method) for name, given in dots.items()}
        rows = score_rows(scores, _STATISTICS, classes, resamples, seed, counts=("tp", "fp", "fn"))
        table = scores_table(rows, f"dots against dots, radius {radius:g}")
    write_scores(output, rows, settings)
    return ScoreSheet(rows, table)


def _draw(
    dots: Mapping[str, Sequence[DotSet]],
    images: Mapping[str, Path],
    output: Path,
    classes: Sequence[str],
    radius: float,
    method: str,
    pixel_size: float,
) -> None:
    from lsr_ext.report.overlays import draw_dots
    from lsr_ext.report.png import write_figure

    for name, (found, truth) in dots.items():
        is_hit = hit_dots(found, truth, radius, classes, method)
        image = read_image(images[name])
        figure = draw_dots(image, found, truth, is_hit, classes, radius / pixel_size, pixel_size)
        write_figure(output / f"{name}.png", figure, 150)


def _agreement_rows(agreement: RaterAgreement) -> list[Row]:
    """The F1 of each pair of raters and of their mean, by class and averaged over classes."""
    names = [*agreement.classes, "average"]
    return [
        {"raters": " / ".join(pair), "class": name, "f1": float(value)}
        for pair, f1 in _pairs_and_mean(agreement)
        for name, value in zip(names, [*f1, macro(f1)], strict=True)
    ]


def _agreement_table(agreement: RaterAgreement, radius: float) -> Table:
    """As the first row of Table 3, with a row for each pair above it."""
    table = Table("raters", "average", *agreement.classes, title=f"F1 of pairs of raters, radius {radius:g}")
    for pair, f1 in _pairs_and_mean(agreement):
        table.add_row("\n".join(pair), *("–" if np.isnan(value) else f"{value:.3f}" for value in [macro(f1), *f1]))
    return table


def _pairs_and_mean(agreement: RaterAgreement) -> list[tuple[tuple[str, ...], Any]]:
    pairs = [*agreement.pairs, ("mean of pairs",)]
    return list(zip(pairs, [*agreement.f1, agreement.mean_f1], strict=True))
