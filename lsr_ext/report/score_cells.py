"""Scores of label maps against dots, from files: each connected region is a detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lsr_ext.data.images import IMAGE_SUFFIXES
from lsr_ext.metrics import match_regions, open_label_map, read_dots
from lsr_ext.metrics.dot_files import COLUMNS, DOT_SUFFIXES
from lsr_ext.metrics.map_files import MAP_SUFFIXES
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.progress import track_progress
from lsr_ext.report.image_files import read_image_like
from lsr_ext.report.score_tables import ScoreSheet, score_rows, scores_table, write_scores

STATISTICS = {
    "recall": lambda scores: scores.recall,
    "precision_region": lambda scores: scores.precision("region"),
    "f1_region": lambda scores: scores.f1("region"),
    "precision_dot_weighted": lambda scores: scores.precision("dot_weighted"),
    "f1_dot_weighted": lambda scores: scores.f1("dot_weighted"),
}
COUNTS = ("dots", "dots_hit", "regions", "regions_hit")


def score_cell_files(
    maps: Path,
    dots: Path,
    classes: Mapping[str, int],
    output: Path,
    *,
    images: Path | None = None,
    columns: Sequence[str] = COLUMNS,
    min_area_px: int = 1,
    dilation_px: float = 0.0,
    pixel_size: float = 1.0,
    resamples: int = 2000,
    seed: int = 0,
) -> ScoreSheet:
    """Score the regions of label maps against dots, by `lsr_ext.metrics.match_regions` (Eq. 12 and 13).

    Writes OUTPUT/scores.csv and scores.json and, with images, OUTPUT/NAME.png: the regions and dots drawn on each.

    Args:
        maps, dots, images: a file each, or folders of files that are paired by name.
        classes: class of dots -> its id in the maps.
        output: folder, created if needed.
        columns: the dots' columns, as for `read_dots`.
        min_area_px, dilation_px, pixel_size: as for `match_regions`.
        resamples, seed: of the bootstrap over images.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: files that cannot be paired or read, sizes that differ, or a value out of range.
        ModuleNotFoundError: the extra `lsr_ext[metrics]` is not installed, or with images `lsr_ext[train]`.
    """
    if images:
        from lsr_ext.report.overlays import draw_cells
        from lsr_ext.report.png import write_figure
    options = {"min_area_px": min_area_px, "dilation_px": dilation_px, "pixel_size": pixel_size}
    files = pair_files((maps, MAP_SUFFIXES), (dots, DOT_SUFFIXES), (images, IMAGE_SUFFIXES))
    scores = {}
    for name, (map_path, dots_path, image_path) in track_progress(list(files.items()), "scoring", least=2):
        label_map, marked = open_label_map(map_path), read_dots(dots_path, columns)
        found = match_regions(label_map, marked, classes, **options)
        scores[name] = found.scores
        if image_path:
            image = read_image_like(image_path, label_map, map_path)
            figure = draw_cells(
                image, label_map, classes, marked, found.is_hit, min_area_px=min_area_px, pixel_size=pixel_size
            )
            write_figure(output / f"{name}.png", figure, 150)
    rows = score_rows(scores, STATISTICS, list(classes), resamples, seed, COUNTS)
    settings = {"maps": maps, "dots": dots, "classes": dict(classes), **options}
    write_scores(output, rows, settings | {"resamples": resamples, "seed": seed})
    return ScoreSheet(rows, scores_table(rows, "regions against dots"))
