"""The command line of the scores: cells, dots and regions in files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from lsr_ext import metrics
from lsr_ext.data import read_image
from lsr_ext.data.images import IMAGE_SUFFIXES
from lsr_ext.files import write_atomically
from lsr_ext.metrics.dot_files import COLUMNS, DOT_SUFFIXES
from lsr_ext.metrics.dot_set import DEFAULT_CLASS, class_names
from lsr_ext.metrics.map_files import MAP_SUFFIXES
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.metrics.regions import strip_rows
from lsr_ext.progress import track_progress
from lsr_ext.report import overlays
from lsr_ext.report.score_tables import Row, merge_rows, score_rows, scores_table, write_scores

app = typer.Typer(help="Score trained methods, and maps and dots in files.", no_args_is_help=True)

Columns = Annotated[str, typer.Option(help="The CSV's columns of x, y, class and score.")]
Images = Annotated[Path | None, typer.Option(help="The image, or a folder of images: overlays are drawn on them.")]
PixelSize = Annotated[float, typer.Option(help="Side of a pixel in the dots' unit; 1 for dots in pixels.")]
Output = Annotated[Path, typer.Option(help="Folder of scores.json, scores.csv and the overlays.")]
Resamples = Annotated[int, typer.Option(min=1, help="Resamples of the images for the 95 % intervals.")]
Seed = Annotated[int, typer.Option(help="Of the resampling.")]
_COLUMNS = ",".join(COLUMNS)
_SETS = "A file, or a folder of files that are paired by name."


@app.command("cells")
def cells_command(
    maps: Annotated[Path, typer.Argument(help="Label maps: PNG, TIFF, npy or zarr. " + _SETS)],
    dots: Annotated[Path, typer.Argument(help="Dots: CSV, or points that QuPath exported (txt, GeoJSON).")],
    classes: Annotated[
        list[str], typer.Option("--class", metavar="NAME=ID", help="A class of dots and its id in the maps.")
    ] = [f"{DEFAULT_CLASS}=1"],  # noqa: B006
    min_area_px: Annotated[int, typer.Option(help="Smaller regions are no detections.")] = 1,
    dilation_px: Annotated[float, typer.Option(help="How far from a region a dot still hits it.")] = 0.0,
    pixel_size: PixelSize = 1.0,
    columns: Columns = _COLUMNS,
    images: Images = None,
    output: Output = Path("scores"),
    resamples: Resamples = 2000,
    seed: Seed = 0,
) -> None:
    """Regions of a map against dots: each connected region is a detection (Eq. 12 and 13)."""
    ids = _parse_classes(classes)
    options = {"min_area_px": min_area_px, "dilation_px": dilation_px, "pixel_size": pixel_size}
    files = pair_files((maps, MAP_SUFFIXES), (dots, DOT_SUFFIXES), (images, IMAGE_SUFFIXES))
    scores = {}
    for name, (map_path, dots_path, image_path) in track_progress(list(files.items()), "scoring", least=2):
        label_map = metrics.open_label_map(map_path)
        marked = metrics.read_dots(dots_path, columns.split(","))
        found = metrics.match_regions(label_map, marked, ids, **options)
        scores[name] = found.scores
        if image_path:
            image = _read_image_like(image_path, label_map, map_path)
            figure = overlays.draw_cells(
                image, label_map, ids, marked, found.is_hit, min_area_px=min_area_px, pixel_size=pixel_size
            )
            _save(output / f"{name}.png", figure)
    rows = score_rows(
        scores,
        {
            "recall": lambda s: s.recall,
            "precision_region": lambda s: s.precision("region"),
            "f1_region": lambda s: s.f1("region"),
            "precision_dot_weighted": lambda s: s.precision("dot_weighted"),
            "f1_dot_weighted": lambda s: s.f1("dot_weighted"),
        },
        list(ids),
        resamples,
        seed,
        counts=("dots", "dots_hit", "regions", "regions_hit"),
    )
    settings = {"maps": maps, "dots": dots, "classes": ids} | options | {"resamples": resamples, "seed": seed}
    _finish(rows, scores_table(rows, "regions against dots"), output, settings)


@app.command("dots")
def dots_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="DOTS...", help="Detections and truth, or raters. " + _SETS)
    ],
    radius: Annotated[float, typer.Option(help="Dots within it match, in the dots' unit.")] = 10.0,
    method: Annotated[str, typer.Option(help="Of match_dots: who gets whom.")] = "closest_first",
    pixel_size: PixelSize = 1.0,
    columns: Columns = _COLUMNS,
    images: Images = None,
    output: Output = Path("scores"),
    resamples: Resamples = 2000,
    seed: Seed = 0,
) -> None:
    """Dots against dots: detections and truth, or the mean F1 of every pair of three or more raters."""
    if len(paths) < 2:
        raise ValueError("expected two or more sets of dots, got one")
    if len(paths) > 2 and images:
        raise ValueError("--images goes with two sets of dots: detections and truth")
    files = pair_files(*((path, DOT_SUFFIXES) for path in paths), (images, IMAGE_SUFFIXES))
    read = {
        name: [metrics.read_dots(path, columns.split(",")) for path in members[:-1]]
        for name, members in track_progress(list(files.items()), "reading", least=2)
    }
    classes = class_names(dots for sets in read.values() for dots in sets)
    settings = {"dots": paths, "radius": radius, "method": method, "resamples": resamples, "seed": seed}
    if len(paths) > 2:
        raters = {str(path): [sets[k] for sets in read.values()] for k, path in enumerate(paths)}
        agreement = metrics.rater_agreement(raters, radius, classes, method)
        _finish(_agreement_rows(agreement), _agreement_table(agreement, radius), output, settings)
        return
    scores = {name: metrics.score_dots(*sets, radius, classes, method) for name, sets in read.items()}
    rows = score_rows(
        scores,
        {"precision": lambda s: s.precision, "recall": lambda s: s.recall, "f1": lambda s: s.f1},
        classes,
        resamples,
        seed,
        counts=("tp", "fp", "fn"),
    )
    for name, members in files.items():
        if members[-1]:
            detected, truth = read[name]
            is_hit = _hit_dots(detected, truth, radius, classes, method)
            figure = overlays.draw_dots(
                read_image(members[-1]), detected, truth, is_hit, classes, radius / pixel_size, pixel_size
            )
            _save(output / f"{name}.png", figure)
    _finish(rows, scores_table(rows, f"dots against dots, radius {radius:g}"), output, settings)


@app.command("regions")
def regions_command(
    pred: Annotated[Path, typer.Argument(help="Predicted label maps: PNG, TIFF, npy or zarr. " + _SETS)],
    truth: Annotated[Path, typer.Argument(help="True label maps.")],
    classes: Annotated[str, typer.Option(help="Names of the ids from 0.")] = "background,foreground",
    distance_px: Annotated[float, typer.Option(help="How far the bands around boundaries reach.")] = 240.0,
    images: Images = None,
    output: Output = Path("scores"),
    resamples: Resamples = 2000,
    seed: Seed = 0,
) -> None:
    """Maps against maps: IoU and Dice everywhere and near true boundaries, trimap and Boundary IoU."""
    names = [name.strip() for name in classes.split(",")]
    files = pair_files((pred, MAP_SUFFIXES), (truth, MAP_SUFFIXES), (images, IMAGE_SUFFIXES))
    scorers: dict[str, Callable] = {
        "": _overlap,
        "masked_": metrics.masked_scores,
        "trimap_": metrics.trimap_scores,
        "boundary_": metrics.boundary_iou,
    }
    scores: dict[str, dict] = {prefix: {} for prefix in scorers}
    for name, (pred_path, truth_path, image_path) in track_progress(list(files.items()), "scoring", least=2):
        maps = metrics.open_label_map(pred_path), metrics.open_label_map(truth_path)
        if maps[0].shape != maps[1].shape:
            raise ValueError(f"{pred_path} is {_size(maps[0])}, {truth_path} {_size(maps[1])}")
        for prefix, scorer in scorers.items():
            try:
                scores[prefix][name] = scorer(*maps, distance_px, len(names))
            except ValueError as error:
                raise ValueError(f"{pred_path} against {truth_path}: {error}") from error
        if image_path:
            drawn = {name: k for k, name in enumerate(names) if len(names) > 2 or k == 1}
            figure = overlays.draw_boundaries(
                _read_image_like(image_path, maps[1], truth_path), *maps, drawn, distance_px
            )
            _save(output / f"{name}.png", figure)
    kinds = {"": ("iou", "dice"), "masked_": ("iou", "dice"), "trimap_": ("iou",), "boundary_": ("iou",)}
    tables = [
        score_rows(
            scores[prefix],
            {prefix + kind: lambda s, kind=kind: getattr(s, kind) for kind in kinds[prefix]},
            names,
            resamples,
            seed,
        )
        for prefix in scorers
    ]
    settings = {"pred": pred, "truth": truth, "classes": names, "distance_px": distance_px}
    settings |= {"resamples": resamples, "seed": seed}
    rows = merge_rows(*tables)
    _finish(rows, scores_table(rows, f"maps against maps, bands of {distance_px:g} px"), output, settings)


def _parse_classes(options: Sequence[str]) -> dict[str, int]:
    ids = {}
    for option in options:
        name, _, number = option.rpartition("=")
        if not name or not number.isdecimal():
            raise ValueError(f"--class: expected NAME=ID, got {option!r}")
        ids[name] = int(number)
    return ids


def _overlap(pred: Any, truth: Any, _distance_px: float, num_classes: int) -> metrics.OverlapScores:
    """Overlap of whole maps, read by strips."""
    rows = strip_rows(truth)
    strips = [slice(top, top + rows) for top in range(0, truth.shape[0], rows)]
    return reduce(
        add,
        (
            metrics.overlap_scores(np.asarray(pred[strip]), np.asarray(truth[strip]), num_classes)
            for strip in strips
        ),
    )


def _read_image_like(path: Path, label_map: Any, map_path: Path) -> np.ndarray:
    image = read_image(path)
    if image.shape[:2] != tuple(label_map.shape):
        raise ValueError(f"{path} is {_size(image)}, {map_path} {_size(label_map)}")
    return image


def _size(array: Any) -> str:
    return f"{array.shape[0]} x {array.shape[1]} px"


def _hit_dots(
    detected: metrics.DotSet, truth: metrics.DotSet, radius: float, classes: Sequence[str], method: str
) -> np.ndarray:
    """Which true dots have a detection of their class, bool (D,)."""
    is_hit = np.zeros(len(truth), dtype=bool)
    for name in classes:
        of_class = detected.of_class(name)
        scores = of_class.scores if method == "confidence_first" else None
        matches = metrics.match_dots(of_class.xy, truth.of_class(name).xy, radius, method, scores=scores)
        is_hit[np.flatnonzero(truth.classes == name)[matches.pairs[:, 1]]] = True
    return is_hit


def _agreement_rows(agreement: metrics.RaterAgreement) -> list[Row]:
    return [
        {"raters": name, "class": label, "f1": float(value)}
        for name, f1 in [
            *((" / ".join(pair), f1) for pair, f1 in zip(agreement.pairs, agreement.f1, strict=True)),
            ("mean of pairs", agreement.mean_f1),
        ]
        for label, value in zip([*agreement.classes, "average"], [*f1, metrics.macro(f1)], strict=True)
    ]


def _agreement_table(agreement: metrics.RaterAgreement, radius: float) -> Table:
    """As the first row of Table 3, with a row for each pair above it."""
    table = Table("raters", "average", *agreement.classes, title=f"F1 of pairs of raters, radius {radius:g}")
    for pair, f1 in zip([*agreement.pairs, ("mean of pairs",)], [*agreement.f1, agreement.mean_f1], strict=True):
        values = [metrics.macro(f1), *f1]
        table.add_row("\n".join(pair), *("–" if np.isnan(value) else f"{value:.3f}" for value in values))
    return table


def _save(path: Path, figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomically(path, buffer.getvalue())


def _finish(rows: Sequence[Row], table: Table, output: Path, settings: Mapping[str, Any]) -> None:
    write_scores(output, rows, settings)
    Console().print(table)
    print(output / "scores.csv")
