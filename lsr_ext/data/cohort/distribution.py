"""The count distribution of a cohort: from its fractions, or from a few blocks that somebody draws in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
import shapely.affinity

from lsr_ext.data.cohort.annotations import WITHOUT_CLASS, read_annotations
from lsr_ext.data.cohort.manifest import Manifest
from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.data.geojson import qupath_corner
from lsr_ext.distributions import CountDistribution
from lsr_ext.files import write_atomically

BLOCK_NAME = "lsr block"  # class of the outlines that `export_blocks` writes


def distribution_of_fractions(
    manifest: Manifest, classes: Sequence[str] | None = None, split: str | None = "train"
) -> tuple[CountDistribution, np.ndarray, np.ndarray]:
    """Estimate from the fractions that a manifest keeps.

    Args:
        manifest: with fractions, and one label per block.
        classes: names of the pixel classes; at most one is without fractions, and gets what is left. None: "other"
            for what is left, and the manifest's.
        split: the blocks to use; None: all.

    Returns:
        The distribution; the fractions (N, L) and labels (N,) that it is of.

    Raises:
        ValueError: no fractions, labels per class, unknown classes, or a label without a block.
    """
    if manifest.fractions is None:
        raise ValueError(
            "the manifest keeps no fractions: its labels come from a source that does not know them; draw blocks "
            "(lsr cohort distribution draw) or take a table"
        )
    if manifest.classes:
        raise ValueError("expected one label per block, got labels per class")
    names = list(classes or ["other", *manifest.fraction_classes])
    rows = manifest.rows_of(split)
    fractions = _all_classes(manifest.fractions[rows], manifest.fraction_classes, names)
    labels = manifest.labels[rows]
    known = (labels >= 0) & ~np.isnan(fractions).any(axis=1)
    return _estimate(fractions[known], labels[known], names, manifest.label_names)


def choose_blocks(manifest: Manifest, per_label: int, seed: int, split: str | None = "train") -> np.ndarray:
    """Draw rows for each label, from as many slides as possible: int64, increasing.

    Raises:
        ValueError: labels per class, or a label without a block.
    """
    if manifest.classes:
        raise ValueError("expected one label per block, got labels per class")
    rng, rows = np.random.default_rng(seed), manifest.rows_of(split)
    slide_of, chosen = manifest.slides()[1], []
    for z, name in enumerate(manifest.label_names):
        members = rng.permutation(rows[manifest.labels[rows] == z])
        if not len(members):
            raise ValueError(f"label {name!r} has no block in the split {split}")
        # The first block of each slide comes first, then the second, and so on.
        slides = slide_of[members]
        turns = np.array([np.count_nonzero(slides[:i] == slide) for i, slide in enumerate(slides)])
        chosen.append(members[np.argsort(turns, kind="stable")[:per_label]])
    return np.sort(np.concatenate(chosen))


def export_blocks(manifest: Manifest, rows: np.ndarray, folder: Path) -> list[Path]:
    """Write the outlines of blocks as `<slide>.geojson` to draw in, and return the files.

    Where names of slides repeat, all have the slides' folders too, from the first that they do not share.

    Each outline is a locked annotation of the class "lsr block", named by its label, as QuPath imports it: its
    coordinates count from the bounds of the slide.
    """
    slides, slide_of = manifest.slides()
    drawings, files = _drawings(folder, slides), []
    for slide in np.unique(slide_of[rows]):
        corner = _corner(slides[slide])
        features = [_outline(manifest, int(row), corner) for row in rows[slide_of[rows] == slide]]
        path = drawings[slide]
        content = {"type": "FeatureCollection", "features": features}
        write_atomically(path, json.dumps(content, indent=1).encode())
        files.append(path)
    return files


def distribution_of_drawings(
    manifest: Manifest, folder: Path, classes: Sequence[str]
) -> tuple[CountDistribution, np.ndarray, np.ndarray]:
    """Estimate from regions that were drawn in the blocks that `export_blocks` wrote.

    Args:
        manifest: of the blocks.
        folder: of `<slide>.geojson` with the outlines and the regions, in level-0 pixels from the bounds of the
            slide. The outlines say which blocks were drawn in.
        classes: names of the pixel classes. The first is what is not drawn.

    Returns:
        The distribution; the fractions (K, L) and labels (K,) of the blocks.

    Raises:
        FileNotFoundError: no file of a slide of the manifest.
        ValueError: a region of another class or of none, an outline that is no block of the manifest, or none at
            all.
    """
    slides, slide_of = manifest.slides()
    rows: list[int] = []
    covered: list[list[float]] = []
    for number, (slide, path) in enumerate(zip(slides, _drawings(folder, slides), strict=True)):
        if not path.is_file():
            continue
        corner = _corner(slide)
        annotations = read_annotations(path)
        if unnamed := annotations.passed_over[WITHOUT_CLASS]:
            raise ValueError(f"{path}: expected regions with a class, got {unnamed} {WITHOUT_CLASS}")
        shapes = {
            name: [shapely.affinity.translate(shape, *corner) for shape in found]
            for name, found in annotations.shapes.items()
        }
        own = _outlined(shapes.get(BLOCK_NAME, []), manifest, np.flatnonzero(slide_of == number), path)
        drawn = _drawn(shapes, classes, path)
        rows += own
        covered += [_covered(manifest.rectangles[row], drawn, classes[1:]) for row in own]
    if not rows:
        raise FileNotFoundError(f"expected NAME.geojson of slides of the manifest in {folder}, found none")
    fractions = np.concatenate([np.zeros((len(rows), 1)), np.array(covered)], axis=1)
    fractions[:, 0] = np.clip(1 - fractions[:, 1:].sum(1), 0, 1)
    if (over := fractions.sum(1)).max() > 1.02:
        raise ValueError(f"{folder}: regions of two classes overlap: a block is covered {over.max():.2f} times")
    if not fractions[:, 1:].any():
        raise ValueError(f"{folder}: no region of {', '.join(classes[1:])} lies in any of {len(rows)} blocks")
    return _estimate(fractions, manifest.labels[rows], list(classes), manifest.label_names)


def _drawings(folder: Path, slides: Sequence[CohortSlide]) -> list[Path]:
    """The file of each slide."""
    paths = [slide.path for slide in slides]
    names = [Path(path.name) for path in paths]
    if len({name.stem for name in names}) < len(names):
        common = os.path.commonpath([path.parent for path in paths])
        names = [path.relative_to(common) for path in paths]
    return [folder / name.with_suffix(".geojson") for name in names]


def _outlined(outlines: Sequence[shapely.Geometry], manifest: Manifest, rows: np.ndarray, path: Path) -> list[int]:
    """The rows of a slide's blocks that are outlined in its file."""
    if not outlines:
        raise ValueError(f"{path}: no outline of the class {BLOCK_NAME!r}: export them together with the regions")
    row_of = {tuple(manifest.rectangles[row].tolist()): int(row) for row in rows}
    found = []
    for outline in outlines:
        x, y, right, bottom = (round(side) for side in outline.bounds)
        row = row_of.get((x, y, right - x, bottom - y))
        if row is None:
            raise ValueError(f"{path}: the outline at {x}, {y} is no block of the manifest: was it built again?")
        found.append(row)
    return found


def _drawn(
    shapes: Mapping[str, list[shapely.Geometry]], classes: Sequence[str], path: Path
) -> dict[str, shapely.Geometry]:
    found = {name: regions for name, regions in shapes.items() if name != BLOCK_NAME}
    if unknown := [name for name in found if name not in classes]:
        raise ValueError(f"{path}: a region of {unknown[0]!r}, which is none of the classes {', '.join(classes)}")
    return {name: shapely.union_all(regions) for name, regions in found.items()}


def _covered(rectangle: np.ndarray, shapes: Mapping[str, shapely.Geometry], classes: Sequence[str]) -> list[float]:
    x, y, width, height = rectangle.tolist()
    block = shapely.box(x, y, x + width, y + height)
    return [block.intersection(shapes[name]).area / block.area if name in shapes else 0.0 for name in classes]


def _corner(slide: CohortSlide) -> tuple[int, int]:
    """The level-0 pixel that QuPath counts coordinates from."""
    return qupath_corner(slide.path.name, slide.open().bounds)


def _outline(manifest: Manifest, row: int, corner: tuple[int, int]) -> dict[str, object]:
    x, y, width, height = manifest.rectangles[row].tolist()
    x, y = x - corner[0], y - corner[1]
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    properties = {
        "objectType": "annotation",
        "name": f"label {manifest.label_names[manifest.labels[row]]}",
        "classification": {"name": BLOCK_NAME, "color": [255, 200, 0]},
        "isLocked": True,
    }
    geometry = {"type": "Polygon", "coordinates": [corners]}
    return {"type": "Feature", "id": f"block-{row}", "geometry": geometry, "properties": properties}


def _all_classes(fractions: np.ndarray, named: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    missing = [name for name in classes if name not in named]
    if unknown := [name for name in named if name not in classes]:
        raise ValueError(f"the manifest has fractions of {unknown[0]!r}, which is none of {', '.join(classes)}")
    if len(missing) > 1:
        raise ValueError(f"no fractions of {' and '.join(missing)}: at most one class may be what is left")
    found = np.zeros((len(fractions), len(classes)))
    found[:, [list(classes).index(name) for name in named]] = fractions
    if missing:
        found[:, list(classes).index(missing[0])] = np.clip(1 - fractions.sum(1), 0, 1)
    return found


def _estimate(
    fractions: np.ndarray, labels: np.ndarray, classes: Sequence[str], label_names: Sequence[str]
) -> tuple[CountDistribution, np.ndarray, np.ndarray]:
    return CountDistribution.from_table(fractions, labels, classes, label_names), fractions, labels
