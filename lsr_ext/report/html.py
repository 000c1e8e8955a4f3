"""The report of a run: one self-contained HTML file."""

from __future__ import annotations

import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import orjson
import yaml

import lsr_ext
from lsr_ext.config import RunConfig
from lsr_ext.evaluation.evaluate import baseline_maps, load_prediction
from lsr_ext.evaluation.scoring import LOWER_IS_BETTER, SCORE_TITLES, score_names
from lsr_ext.files import write_atomically
from lsr_ext.inference.stitching import cut_blocks_of, rectangles_of, stitch
from lsr_ext.metrics import fraction_calibration, overlap_scores
from lsr_ext.report.curves import read_curves
from lsr_ext.report.figures import draw_calibration, draw_curves, draw_overlays
from lsr_ext.report.fractions import draw_fraction_histograms
from lsr_ext.report.page import Draw, embed, render_page
from lsr_ext.report.styles import METHOD_TITLES, data_title
from lsr_ext.sources import TrainingData, prepare_data
from lsr_ext.sources.training_data import describe_labels
from lsr_ext.training.folders import method_folder
from lsr_ext.training.same_data import check_same_data

_MAX_REGIONS = 4


def write_report(config: RunConfig) -> Path:
    """Write `<output>/report.html` from the results of `train` and `evaluate` in the output folder.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: the run has not been evaluated.
        ValueError: the data have changed since.
    """
    metrics_path = config.output / "metrics.json"
    if not metrics_path.is_file():
        raise FileNotFoundError(f"expected the scores of a run, found none at {metrics_path}: evaluate first")
    data = prepare_data(config)
    check_same_data(config, data)
    data = data.readable()
    predictions = {method: load_prediction(config.output, method) for method in config.methods}
    maps = baseline_maps(data) | {name: maps for name, (maps, _) in predictions.items()}
    curves = {method: read_curves(method_folder(config.output, method)) for method in config.methods}
    curves = {method: found for method, found in curves.items() if "loss" in found}
    fractions = {name: predicted for name, (_, predicted) in predictions.items()}
    found = orjson.loads(metrics_path.read_bytes())
    metrics = {method: found[method] for method in maps}  # raters have no maps
    page = render_page(
        "report.html.j2",
        rows=[(method, METHOD_TITLES[method], scores) for method, scores in metrics.items()],
        best=_best_scores(metrics),
        titles={name: SCORE_TITLES[name] for name in score_names(metrics)},
        data=data,
        config=config,
        overlays=[embed(draw) for draw in _draw_regions(data, maps, data_title(config.data))],
        curves=embed(partial(draw_curves, curves)) if curves else None,
        calibration=embed(_draw_calibration(data, fractions)),
        histograms=[embed(draw) for draw in _draw_histograms(data, fractions)],
        configuration=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        versions=_versions(),
        labels=describe_labels(data),
        label_errors={
            method: scores["fraction_errors"] for method, scores in metrics.items() if "fraction_errors" in scores
        },
        method_titles=METHOD_TITLES,
    )
    path = config.output / "report.html"
    write_atomically(path, page.encode())
    return path


def _drawn_classes(data: TrainingData) -> list[int]:
    return [data.foreground] if len(data.test.classes) == 2 else list(range(len(data.test.classes)))


def _draw_calibration(data: TrainingData, fractions: dict[str, np.ndarray]) -> Draw:
    return partial(
        draw_calibration,
        fractions,
        data.test.labels,
        data.distribution.mean.numpy(),
        data.distribution.std.numpy(),
        {c: data.test.classes[c] for c in _drawn_classes(data)},
    )


def _draw_histograms(data: TrainingData, fractions: dict[str, np.ndarray]) -> list[Draw]:
    """What draws the fractions of each class that is shown."""
    found = {
        method: fraction_calibration(predicted, data.test.labels, data.distribution)
        for method, predicted in fractions.items()
    }
    return [partial(draw_fraction_histograms, found, c) for c in _drawn_classes(data)]


def _draw_regions(data: TrainingData, maps: dict[str, np.ndarray], title: str) -> list[Draw]:
    """What draws the overlay of each of a few held-out images, evenly spaced in the order of the folder."""
    keys = list(rectangles_of(data.test.blocks))
    places = np.unique(np.linspace(0, len(keys) - 1, min(_MAX_REGIONS, len(keys))).round().astype(int))
    return [
        _draw_region(
            data, maps, keys[place], f"{title}: {data.test.names[keys[place]]}, {place + 1} of {len(keys)}"
        )
        if len(keys) > 1
        else _draw_region(data, maps, keys[place], f"{title}, held out")
        for place in places.tolist()
    ]


def _draw_region(data: TrainingData, maps: dict[str, np.ndarray], image: int, title: str) -> Draw:
    """What draws the overlay of the rectangle that the blocks of one held-out image fill."""
    members = [index for index, block in enumerate(data.test.blocks) if block.image == image]
    held_out = data.test.subset(members)
    blocks = held_out.blocks
    pixels = stitch(blocks, cut_blocks_of(held_out, held_out.images)[..., :3])[image]
    truth = None if held_out.masks is None else stitch(blocks, cut_blocks_of(held_out, held_out.masks))[image]
    regions = {method: stitch(blocks, predicted[members])[image] for method, predicted in maps.items()}
    scores = _region_scores(regions, truth, data)
    return partial(draw_overlays, pixels, truth, regions, _drawn_classes(data), scores, blocks[0].height, title)


def _region_scores(
    regions: dict[str, np.ndarray], truth: np.ndarray | None, data: TrainingData
) -> dict[str, float | None]:
    if truth is None:
        return dict.fromkeys(regions)
    scores = {}
    for method, predicted in regions.items():
        iou = overlap_scores(predicted, truth, len(data.test.classes)).iou[_drawn_classes(data)]
        scores[method] = None if np.isnan(iou).all() else float(np.nanmean(iou))
    return scores


def _best_scores(metrics: dict[str, dict]) -> dict[str, float]:
    """Return the best value of each score among the methods that were trained without masks."""
    best = {}
    for name in score_names(metrics):
        values = [
            scores.get(name) for method, scores in metrics.items() if method not in ("supervised", "limited")
        ]
        choose = min if name in LOWER_IS_BETTER else max
        best[name] = choose((value for value in values if value is not None), default=None)
    return best


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("lightning", "monai", "numpy")}
    return lsr_ext.build_info() | packages | {"python": platform.python_version()}
