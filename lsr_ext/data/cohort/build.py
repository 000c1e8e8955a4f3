"""Make a manifest from slides and a source of labels, slide by slide; finished slides are stored meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lsr_ext.data.cohort.grid import merge_patches
from lsr_ext.data.cohort.label_sources import LabelSource, check_labels_differ
from lsr_ext.data.cohort.manifest import describe_views, make_table, write_table
from lsr_ext.data.cohort.quarantine import DEFAULT_LIMIT, QuarantineLimitError
from lsr_ext.data.cohort.recipe import Recipe
from lsr_ext.data.cohort.rectangles import Rectangles, place_patches
from lsr_ext.data.cohort.slides import CohortSlide, assign_splits, fixed_splits
from lsr_ext.data.cohort.tissue import TissueFinder
from lsr_ext.data.labels import quantise_fractions
from lsr_ext.files import remove_unfinished, write_atomically, written_whole
from lsr_ext.progress import track_progress
from lsr_ext.wsi import SlideError
from lsr_ext.wsi.backend import View
from lsr_ext.wsi.versions import slide_version

DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_VERSION = 2  # version of the content of a part; a part of another version is made again


def build_cohort(
    slides: Sequence[CohortSlide],
    source: LabelSource,
    recipe: Recipe,
    output: str | Path,
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    limit: float = DEFAULT_LIMIT,
    workers: int = 1,
    rectangles: Rectangles | None = None,
    tissue: TissueFinder = TissueFinder(),  # noqa: B008 - immutable
) -> Path:
    """Write the manifest of a cohort.

    The blocks of each slide are written to OUTPUT.parts/ and renamed when the file is complete; a file of the same
    slide, labels and recipe is used again. So an interrupted run continues, and ends with the same bytes. Slides
    that cannot be read, or have no labels, are tried again once, then left out and recorded with the reason in
    OUTPUT.report.jsonl.

    Args:
        slides: see `list_slides`.
        source: source of the labels.
        recipe: how slides are divided into blocks.
        output: the manifest, Parquet.
        shares: shares of the splits, by patient if known, otherwise by slide; 0.8, 0.1, 0.1 by default. Not for
            slides whose splits are given.
        seed: random seed of the splits.
        limit: the largest share of slides that may be left out, in [0, 1].
        workers: number of processes; 1: only this process.
        rectangles: the blocks, in place of the recipe's.
        tissue: finds the tissue.

    Returns:
        `output`.

    Raises:
        QuarantineLimitError: more slides were left out than `limit` allows.
        ValueError: no blocks, or too few slides for the splits.
    """
    output = Path(output)
    for described in (source, rectangles):
        if described is not None:
            check_labels_differ(described.labels_of, [slide.path for slide in slides])
    _splits_of(slides, shares, seed)  # what is wrong with them is told before the work, not after it
    folder = output.with_name(f"{output.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    remove_unfinished(output.parent, output.name)
    parts, failures = [], []
    make = partial(_make_part, source=source, recipe=recipe, folder=folder, rectangles=rectangles, tissue=tissue)
    for slide, (part, reason) in zip(slides, _each(make, slides, workers), strict=True):
        if reason is None:
            parts.append((slide, part))
            continue
        failures.append({"slide": str(slide.path), "reason": reason})
        if len(failures) > limit * len(slides):
            _write_report(output, failures)
            raise QuarantineLimitError(
                f"{len(failures)} of {len(slides)} slides left out, more than the limit of {limit:.2%}; see "
                f"{_report(output)}; the last: {reason}"
            )
    _write_report(output, failures)
    _join(parts, output, source, recipe, shares, seed)
    return output


def _each(make: partial, slides: Sequence[CohortSlide], workers: int) -> Iterator[tuple[Path, str | None]]:
    if workers < 2:
        yield from map(make, track_progress(slides, "slides", least=2))
        return
    # Not forked, because the decoding threads of this process would be missing.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from track_progress(pool.map(make, slides), "slides", total=len(slides), least=2)


def _make_part(
    slide: CohortSlide,
    source: LabelSource,
    recipe: Recipe,
    folder: Path,
    rectangles: Rectangles | None,
    tissue: TissueFinder,
) -> tuple[Path, str | None]:
    """Return the file of a slide's blocks, and the reason if there is no file."""
    for attempt in (1, 2):
        try:
            fingerprint = _fingerprint(slide, source, recipe, rectangles, tissue)
            part = folder / f"{slide.path.stem}-{fingerprint}.parquet"
            if not part.exists():
                _write_part(part, _blocks(slide, source, recipe, rectangles, tissue))
            return part, None
        except (SlideError, ValueError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            if attempt == 2:
                return folder, reason
    raise AssertionError("unreachable")


def _fingerprint(
    slide: CohortSlide, source: LabelSource, recipe: Recipe, rectangles: Rectangles | None, tissue: TissueFinder
) -> str:
    facts = [_VERSION, str(slide.path), *slide_version(slide.path), slide.mpp, recipe.as_dict()]
    facts += [source.name, source.classes, source.fingerprint(slide.path), tissue.fingerprint(slide.path)]
    facts += [None if rectangles is None else rectangles.of(slide.path).tolist(), *slide.view.given().items()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _blocks(
    slide: CohortSlide, source: LabelSource, recipe: Recipe, given: Rectangles | None, tissue: TissueFinder
) -> pa.Table:
    opened = slide.open()
    mpp = opened.known_mpp()
    patches = place_patches(opened, recipe, given)
    rectangles = patches.blocks
    of_patches = source.values(slide.path, opened.size, patches, opened.bounds)
    merge_by = recipe.merge_by or ("area" if source.knows_fractions else "maximum")
    values, areas = (merge_patches(of_patches, recipe.merge, rule) for rule in (merge_by, "area"))
    known = ~np.isnan(values).all(axis=1)
    values, areas, rectangles = values[known], areas[known], rectangles[known]
    covered = tissue.find(opened).fractions(rectangles) if len(rectangles) else np.empty(0)
    enough = covered >= recipe.min_tissue
    values, areas, rectangles, covered = values[enough], areas[enough], rectangles[enough], covered[enough]
    labels = _label(values, recipe.edges)
    if len(source.classes) < 2:
        labels = labels[:, 0]
    count = len(rectangles)
    x, y, width, height = rectangles.T
    columns = {
        "slide": [os.path.normpath(slide.path.absolute())] * count,
        "patient": [None] * count,  # as the split, filled in where parts are joined
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "mpp": width * (mpp[0] + mpp[1]) / 2 / recipe.size_px,
        "size_px": [recipe.size_px] * count,
        "label_source": [source.name] * count,
        "split": [""] * count,
        "tissue_fraction": covered,
    }
    return make_table(columns, labels, areas if source.knows_fractions else None)


def _label(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """The bins of values (N, L), -1 where a class is unknown."""
    known = ~np.isnan(values)
    labels = quantise_fractions(np.where(known, values, 0.0), [edges] * values.shape[1])
    return np.where(known, labels, -1)


def _write_part(path: Path, table: pa.Table) -> None:
    with written_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _join(
    parts: Iterable[tuple[CohortSlide, Path]],
    output: Path,
    source: LabelSource,
    recipe: Recipe,
    shares: Mapping[str, float] | None,
    seed: int,
) -> None:
    parts = list(parts)
    splits, shares = _splits_of([slide for slide, _ in parts], shares, seed)
    folder = Path(os.path.normpath(output.parent.absolute()))
    tables: list[pa.Table] = []
    views: dict[str, View] = {}
    for (slide, part), split in zip(parts, splits, strict=True):
        table = pq.read_table(part)
        # Not from the part, which is older than the list of slides.
        table = _with_column(table, "patient", [slide.patient] * len(table))
        table = _with_column(table, "split", [split] * len(table))
        texts = _relative(table["slide"], folder)
        tables.append(_with_column(table, "slide", texts))
        views |= dict.fromkeys(texts, slide.view)
    joined = pa.concat_tables(tables)
    if not len(joined):
        raise ValueError(f"{output}: expected at least one block, got none from {len(parts)} slides")
    about = {"recipe": recipe.as_dict(), "shares": shares and dict(shares), "seed": seed}
    about |= describe_views(views)
    if source.knows_fractions:
        about["fraction_classes"] = list(source.classes)
    many = len(source.classes) > 1
    write_table(joined, output, recipe.label_names, source.classes if many else (), about)


def _splits_of(
    slides: Sequence[CohortSlide], shares: Mapping[str, float] | None, seed: int
) -> tuple[list[str], Mapping[str, float] | None]:
    """The split of each slide, as given or drawn, and the shares that it was drawn by."""
    splits = fixed_splits(slides)
    if splits is not None:
        if shares is not None:
            raise ValueError("the slides' splits are given, so shares of splits are not used: leave them out")
        return splits, None
    shares = DEFAULT_SHARES if shares is None else shares
    groups = [slide.patient or slide.label for slide in slides]
    drawn = assign_splits(groups, shares, seed)
    return [drawn[group] for group in groups], shares


def _with_column(table: pa.Table, name: str, texts: Sequence[str | None]) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(texts, pa.string()))


def _relative(slides: pa.ChunkedArray, folder: Path) -> list[str]:
    """Make paths relative to the manifest's folder, so that both can move together; otherwise absolute."""
    paths = [Path(slide) for slide in slides.to_pylist()]
    return [str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in paths]


def _report(output: Path) -> Path:
    return output.with_name(f"{output.name}.report.jsonl")


def _write_report(output: Path, failures: Sequence[Mapping[str, str]]) -> None:
    write_atomically(_report(output), "".join(json.dumps(failure) + "\n" for failure in failures).encode())
