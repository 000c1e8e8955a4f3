"""Check slides, labels and recipe before a cohort is built, and show what was found as a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lsr_ext.data.cohort.grid import Grid, Patches
from lsr_ext.data.cohort.label_sources import LabelSource, Regions
from lsr_ext.data.cohort.recipe import Recipe
from lsr_ext.data.cohort.rectangles import Rectangles, place_patches
from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.data.cohort.tissue import TissueFinder
from lsr_ext.data.geojson import qupath_corner
from lsr_ext.progress import track_progress
from lsr_ext.wsi import Slide, SlideError

_CELLS = 128  # along the longer side of a slide, to compare labels with tissue
_LEAST_CELL_PX = 16
_LEAST_ON_TISSUE = 0.5  # of the labelled area; below it, labels and slide may not belong together
_COLUMNS = ("slide", "size_px", "mpp", "patch_px", "blocks", "regions", "on_tissue", "notes")


class SlideCheck(NamedTuple):
    """What was found of a slide.

    Attributes:
        slide: the slide.
        size, mpp: (width, height) in level-0 pixels, and microns per pixel; None if it does not open.
        patch_px: side of a patch in level-0 pixels; of given blocks, of the first one's.
        blocks: number of whole blocks on the slide.
        classes: number of regions for each class that the file names.
        passed_over: why features of the file were passed over, and how many.
        on_tissue: the share of the labelled area that lies on tissue, in [0, 1]; None: nothing is labelled.
        error: why the slide will be left out; "" if it will not.
        warnings: what may be wrong, with numbers.
    """

    slide: CohortSlide
    size: tuple[int, int] | None = None
    mpp: tuple[float, float] | None = None
    patch_px: int = 0
    blocks: int = 0
    classes: Mapping[str, int] = MappingProxyType({})
    passed_over: Mapping[str, int] = MappingProxyType({})
    on_tissue: float | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()

    def notes(self) -> str:
        """The error and the warnings in one line."""
        return "; ".join(([self.error] if self.error else []) + list(self.warnings))


def check_cohort(
    slides: Sequence[CohortSlide],
    source: LabelSource,
    recipe: Recipe,
    tissue: TissueFinder = TissueFinder(),  # noqa: B008 - immutable
    workers: int = 1,
    rectangles: Rectangles | None = None,
) -> list[SlideCheck]:
    """Check each slide: does it open, at which resolution, how many blocks, are its labels there and on tissue?

    Args:
        slides: see `list_slides`.
        source: source of the labels.
        recipe: how slides are divided into blocks.
        tissue: finds the tissue.
        workers: number of processes; 1: only this process.
        rectangles: the blocks, in place of the recipe's.

    Returns:
        A check for each slide, in their order. Faults of a slide are in it.

    Raises:
        ValueError: a class is wanted that no file names; the message has the names that there are.
    """
    check = partial(check_slide, source=source, recipe=recipe, tissue=tissue, rectangles=rectangles)
    if workers < 2:
        checks = list(map(check, track_progress(slides, "checking slides", least=2)))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            checks = list(track_progress(pool.map(check, slides), "checking slides", total=len(slides), least=2))
    if isinstance(source, Regions):
        _check_classes(checks, source)
    return checks


def check_slide(
    slide: CohortSlide, source: LabelSource, recipe: Recipe, tissue: TissueFinder, rectangles: Rectangles | None
) -> SlideCheck:
    """Check one slide; see `check_cohort`."""
    check = SlideCheck(slide)
    try:
        opened = slide.open()
        check = check._replace(size=opened.size, mpp=opened.mpp)
        patches = place_patches(opened, recipe, rectangles)
        check = check._replace(blocks=len(patches.blocks))
        if not check.blocks:
            block_px = recipe.patch_side(opened.known_mpp()) * recipe.merge
            raise ValueError(f"expected at least one whole block of {block_px} px, got none")
        check = check._replace(patch_px=patches.side)
        if isinstance(source, Regions):
            found = source.read(slide.path)
            counts = {name: len(shapes) for name, shapes in found.shapes.items()}
            check = check._replace(classes=counts, passed_over=dict(found.passed_over))
        share = _on_tissue(opened, source, patches, tissue)
    except (SlideError, ValueError, OSError) as error:
        return check._replace(error=str(error))
    warnings = _warnings(check, recipe, int(patches.blocks[:, 2].min()))
    if share is not None and share < _LEAST_ON_TISSUE:
        warnings.append(
            f"{share:.0%} of the labelled area lies on tissue{_better(opened, source, patches, tissue)}"
        )
    return check._replace(on_tissue=share, warnings=tuple(warnings))


def format_checks(checks: Sequence[SlideCheck], most: int = 40) -> str:
    """Format checks as a table with a line for each slide, those with notes first, and a summary.

    Args:
        checks: see `check_cohort`.
        most: the largest number of lines for slides.
    """
    ordered = sorted(checks, key=lambda check: (not check.error, not check.warnings))
    rows = [_COLUMNS, *map(_row, ordered[:most])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS) - 1)]
    lines = ["  ".join([*map(str.ljust, row[:-1], widths), row[-1]]).rstrip() for row in rows]
    if len(checks) > most:
        lines.append(f"... and {len(checks) - most} more")
    blocks = sum(check.blocks for check in checks if not check.error)
    errors, warned = sum(bool(check.error) for check in checks), sum(bool(check.warnings) for check in checks)
    lines.append(f"{len(checks)} slides, at most {blocks} blocks; {errors} with errors, {warned} with warnings")
    passed_over = sum((Counter(check.passed_over) for check in checks), Counter())
    if passed_over:
        lines.append("features passed over: " + ", ".join(f"{n} {reason}" for reason, n in passed_over.items()))
    return "\n".join(lines)


def checks_as_csv(checks: Sequence[SlideCheck]) -> str:
    """Format all checks as CSV, in their order."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *map(_row, checks)])
    return text.getvalue()


def _row(check: SlideCheck) -> tuple[str, ...]:
    regions = ", ".join(f"{name} {count}" for name, count in sorted(check.classes.items()))
    return (
        check.slide.label,
        "" if check.size is None else f"{check.size[0]} x {check.size[1]}",
        "" if check.mpp is None else f"{check.mpp[0]:.4g}",
        str(check.patch_px or ""),
        str(check.blocks or ""),
        regions,
        "" if check.on_tissue is None else f"{check.on_tissue:.0%}",
        check.notes(),
    )


def _warnings(check: SlideCheck, recipe: Recipe, block_px: int) -> list[str]:
    warnings = []
    if block_px < recipe.size_px:
        warnings.append(f"blocks of {block_px} px are magnified to {recipe.size_px} px")
    if check.passed_over:
        counts = ", ".join(f"{count} {reason}" for reason, count in check.passed_over.items())
        warnings.append(f"features passed over: {counts}")
    return warnings


def _on_tissue(slide: Slide, source: LabelSource, patches: Patches, tissue: TissueFinder) -> float | None:
    """The share of the labelled area that lies on tissue; None: nothing is labelled."""
    fine = Grid.over(slide.size, max(_LEAST_CELL_PX, max(slide.size) // _CELLS))
    grid = fine if source.any_grid else patches
    weights = np.nan_to_num(source.values(slide.path, slide.size, grid, slide.bounds)).sum(axis=1)
    if not weights.sum():
        return None
    return float(weights @ tissue.find(slide).fractions(grid.rectangles()) / weights.sum())


def _better(slide: Slide, source: LabelSource, patches: Patches, tissue: TissueFinder) -> str:
    """Tell the share with the other corner, where the slide has bounds."""
    if not isinstance(source, Regions) or qupath_corner(slide.path.name, slide.bounds) == (0, 0):
        return ""
    other = "on" if source.offset(slide.path, source.read(slide.path), slide.bounds) == (0, 0) else "off"
    share = _on_tissue(slide, Regions(source.folder, source.classes, other), patches, tissue)
    return f", {share or 0:.0%} with --qupath-bounds {other}"


def _check_classes(checks: Sequence[SlideCheck], source: Regions) -> None:
    found = sum((Counter(check.classes) for check in checks), Counter())
    missing = set(source.classes) - {source.counts_for(name) for name in found}
    if missing and found:
        names = ", ".join(f"{name!r} ({count} regions)" for name, count in sorted(found.items()))
        raise ValueError(
            f"{source.folder}: expected regions of the class {', '.join(map(repr, sorted(missing)))}, got {names}"
        )
