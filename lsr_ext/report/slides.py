"""The report over slides: labelled blocks, predictions, and how they fit; one self-contained HTML file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lsr_ext
from lsr_ext.data.cohort.manifest import Manifest, read_manifest
from lsr_ext.data.cohort.slides import CohortSlide, list_slides
from lsr_ext.distributions import CountDistribution
from lsr_ext.files import write_atomically
from lsr_ext.inference.colours import class_colours
from lsr_ext.inference.map_fractions import class_areas_px
from lsr_ext.inference.model_file import DESCRIPTION_NAME, read_description
from lsr_ext.inference.prediction import Prediction, find_prediction
from lsr_ext.metrics import fraction_calibration
from lsr_ext.progress import track_progress
from lsr_ext.report.block_fit import BlockFit, check_names, fit_blocks
from lsr_ext.report.figures import draw_calibration
from lsr_ext.report.fractions import draw_fraction_histograms
from lsr_ext.report.page import Picture, embed, render_page
from lsr_ext.report.slide_pictures import block_picture, slide_picture
from lsr_ext.wsi import Slide

MAX_SHOWN = 40
_WORST_BLOCKS = 6
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sources:
    """What a report is made of."""

    slides: list[CohortSlide]
    manifest: Manifest | None
    rows_of: dict[Path, np.ndarray]
    predictions: Path | None
    distribution: CountDistribution | None


class _ClassShare(NamedTuple):
    name: str
    colour: str
    share: float | None


class _Block(NamedTuple):
    picture: str
    label: str
    classes: list[str]


@dataclass(frozen=True)
class _SlideFacts:
    """What the page says of a slide."""

    name: str
    size: tuple[int, int]
    mpp: tuple[float, float] | None
    area_mm2: float | None
    shares: list[_ClassShare]
    labels: dict[str, int]
    fit: BlockFit | None
    worst: list[_Block]
    picture: str | None


def write_slides_report(
    source: str | Path,
    *,
    predictions: str | Path | None = None,
    slides: str | Path | None = None,
    distribution: str | Path | None = None,
    output: str | Path | None = None,
) -> Path:
    """Write `<output>/report.html` about slides: thumbnails with contours, class fractions, fit to the labels.

    A slide that cannot be read is listed with its reason, and does not stop the report. Of many slides, 40 are
    shown and all are in the table.

    Args:
        source: a manifest of `lsr cohort build`, or a folder of predictions of `lsr predict`.
        predictions: the folder of predictions, if `source` is a manifest; None: there are none.
        slides: a folder of slides or a CSV, see `list_slides`; needed if `source` is a folder of predictions.
        distribution: mean and std of the fractions by label: JSON, or the folder of a trained model; needed to
            compare blocks with their labels.
        output: folder of the report; None: that of `source`.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: a file that is named is missing.
        ValueError: a file that cannot be read, or names of labels and classes that do not agree.
    """
    source = Path(source)
    found = _read_sources(source, predictions, slides, distribution)
    shown = _evenly(len(found.slides), MAX_SHOWN)
    facts, failures = [], []
    for number, slide in enumerate(track_progress(found.slides, "report", least=2)):
        try:
            described = _describe(slide, found, number in shown)
            _check_classes([*facts[:1], described])
            facts.append(described)
        except (OSError, ValueError) as error:
            failures.append((slide.path.name, f"{type(error).__name__}: {error}"))
            _logger.warning("%s is left out: %s", slide.path.name, error)
    folder = source if source.is_dir() else source.parent
    path = (folder if output is None else Path(output)) / "report.html"
    page = render_page(
        "slides.html.j2",
        name=source.name,
        slides=facts,
        failures=failures,
        fit=_draw_fit(facts, found.distribution),
        distribution=found.distribution,
        classes=facts and next((one.shares for one in facts if one.shares), []),
        labels=found.manifest.label_names if found.manifest else (),
        versions=lsr_ext.build_info(),
    )
    write_atomically(path, page.encode())
    return path


def _read_sources(
    source: Path, predictions: str | Path | None, slides: str | Path | None, distribution: str | Path | None
) -> _Sources:
    if source.is_dir():
        if slides is None or predictions is not None or distribution is not None:
            raise ValueError(f"{source} is a folder of predictions: give their slides (--slides), nothing else")
        listed = [one for one in list_slides(slides) if (source / f"{one.path.stem}.zarr").is_dir()]
        if not listed:
            raise ValueError(f"{source}: expected predictions of the slides of {slides}, found none")
        without = {path.stem for path in source.glob("*.zarr")} - {one.path.stem for one in listed}
        if without:
            _logger.warning(
                "%d predictions are left out, of no slide of %s: %s", len(without), slides, min(without)
            )
        return _Sources(listed, None, {}, source, None)
    if slides is not None:
        raise ValueError(f"{source} is a manifest, which names its slides: expected no others, got {slides}")
    manifest = read_manifest(source)
    listed, slide_of = manifest.slides()
    rows_of = {slide.path: np.flatnonzero(slide_of == index) for index, slide in enumerate(listed)}
    if predictions is not None and not Path(predictions).is_dir():
        raise FileNotFoundError(f"expected a folder of predictions, found none at {predictions}")
    known = None if distribution is None else _read_distribution(Path(distribution))
    folder = None if predictions is None else Path(predictions)
    return _Sources(sorted(listed, key=lambda slide: slide.path), manifest, rows_of, folder, known)


def _read_distribution(path: Path) -> CountDistribution:
    if path.is_dir():
        return CountDistribution(**read_description(path / DESCRIPTION_NAME).distribution.model_dump())
    return CountDistribution.load(path)


def _describe(listed: CohortSlide, sources: _Sources, shown: bool) -> _SlideFacts:
    slide = listed.open()
    prediction = None
    if sources.predictions is not None:
        prediction = find_prediction(sources.predictions / f"{slide.path.stem}.zarr", slide)
    rows = sources.rows_of.get(listed.path, np.zeros(0, np.int64))
    fit = None
    if prediction is not None and sources.distribution is not None and sources.manifest is not None:
        check_names(sources.manifest, sources.distribution, prediction.classes)
        fit = fit_blocks(prediction, sources.manifest, rows, sources.distribution)
    areas_px = np.zeros(0) if prediction is None else class_areas_px(prediction)
    drawn = _drawn_classes(prediction)
    blocks, colours = _outlined(sources, rows, prediction is None)
    return _SlideFacts(
        name=slide.path.name,
        size=slide.size,
        mpp=slide.mpp,
        area_mm2=None if prediction is None else float(areas_px.sum()) * (prediction.mpp / 1000) ** 2,
        shares=[] if prediction is None else _shares(prediction, areas_px),
        labels=_count_labels(sources.manifest, rows),
        fit=fit,
        worst=_worst_blocks(slide, prediction, fit, drawn, sources.distribution) if shown and fit else [],
        picture=slide_picture(slide, prediction, drawn, blocks, colours) if shown else None,
    )


def _check_classes(facts: list[_SlideFacts]) -> None:
    """Refuse predictions of other classes than the first slide's: they share the columns of a table."""
    first, last = ([one.name for one in slide.shares] for slide in (facts[0], facts[-1]))
    if first != last:
        raise ValueError(
            f"expected the classes {', '.join(first)}, as in the prediction of {facts[0].name}, got "
            f"{', '.join(last)}"
        )


def _drawn_classes(prediction: Prediction | None) -> list[int]:
    """All classes but the background."""
    names = [] if prediction is None else prediction.classes
    return [index for index, name in enumerate(names) if name != "background"]


def _outlined(sources: _Sources, rows: np.ndarray, wanted: bool) -> tuple[np.ndarray, list[str]]:
    """The blocks to outline, if wanted, and their colours by label."""
    if sources.manifest is None or sources.manifest.classes or not wanted:
        return np.zeros((0, 4)), []
    palette = [*class_colours(list(sources.manifest.label_names)), "#9ca3af"]  # the last: unknown
    labels = sources.manifest.labels[rows]
    return sources.manifest.rectangles[rows], [palette[label] for label in labels]


def _shares(prediction: Prediction, areas_px: np.ndarray) -> list[_ClassShare]:
    """The share of the predicted area that is of each class."""
    total = int(areas_px.sum())
    shares = [area / total if total else None for area in areas_px.tolist()]
    return [_ClassShare(*one) for one in zip(prediction.classes, prediction.colours, shares, strict=True)]


def _count_labels(manifest: Manifest | None, rows: np.ndarray) -> dict[str, int]:
    """The number of blocks with each label; those with a label per class count once for each class."""
    if manifest is None:
        return {}
    labels = manifest.labels[rows]
    return {name: int((labels == index).sum()) for index, name in enumerate(manifest.label_names)}


def _worst_blocks(
    slide: Slide, prediction: Prediction, fit: BlockFit, drawn: list[int], distribution: CountDistribution
) -> list[_Block]:
    """The blocks where prediction and label disagree most."""
    found = []
    for k in fit.worst(_WORST_BLOCKS).tolist():
        labels = [distribution.labels[label] if label >= 0 else "unknown" for label in fit.labels[k]]
        same = len(set(labels)) == 1
        label = (
            labels[0]
            if same
            else ", ".join(f"{name} {one}" for name, one in zip(distribution.classes, labels, strict=True))
        )
        classes = [
            f"{name} {fit.fractions[k, c]:.2f}, expected {fit.expected[k, c]:.2f} ± {fit.std[k, c]:.2f}"
            for c, name in enumerate(distribution.classes)
            if np.isfinite(fit.expected[k, c])
        ]
        found.append(_Block(block_picture(slide, prediction, drawn, fit.rectangles[k].tolist()), label, classes))
    return found


def _draw_fit(facts: list[_SlideFacts], distribution: CountDistribution | None) -> list[Picture]:
    """Predicted against expected fractions of the blocks of all slides."""
    fits = [one.fit for one in facts if one.fit is not None and len(one.fit.fractions)]
    if not fits or distribution is None:
        return []
    fractions = np.concatenate([fit.fractions for fit in fits])
    labels = np.concatenate([fit.labels for fit in fits])
    names = dict(enumerate(distribution.classes))
    if len(names) == 2 and not np.array_equal(*distribution.mean.numpy().T):
        del names[0]  # the other class mirrors it
    mean, std = distribution.mean.numpy(), distribution.std.numpy()
    calibration = fraction_calibration(fractions, labels, distribution)
    histograms = [partial(draw_fraction_histograms, {"prediction": calibration}, c) for c in names]
    return [
        embed(partial(draw_calibration, {"prediction": fractions}, labels, mean, std, names)),
        *map(embed, histograms),
    ]


def _evenly(count: int, most: int) -> set[int]:
    return set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist())
