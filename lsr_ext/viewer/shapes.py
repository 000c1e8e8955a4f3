"""What lies on a slide as shapes, and which of it is in view: annotated regions, dots, labelled blocks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely

# More is never sent at once; the page says so.
MAX_SHOWN = 5000
_TRUTH_COLOURS = ("#00d5ff", "#ff7ad9", "#b6ff3b", "#ff9d2e", "#c9a6ff", "#ffffff", "#2effc0", "#ff5a5a")


class Kind(NamedTuple):
    """What shapes have in common: their name and the colour, "#rrggbb", that they are drawn in."""

    name: str
    colour: str


class ViewBox(NamedTuple):
    """A rectangle of level-0 pixels, and level-0 pixels per pixel on the screen."""

    x: float
    y: float
    width: float
    height: float
    scale: float


class Shapes:
    """Shapes in level-0 pixels, found by rectangle. Threads can share them.

    Args:
        geometries: N polygons, multi-polygons or points.
        kind_of: the index in `kinds` of each.
        kinds: name and colour.
    """

    def __init__(
        self, geometries: Sequence[shapely.Geometry], kind_of: Sequence[int], kinds: Sequence[Kind]
    ) -> None:
        self.geometries = np.array(geometries, dtype=object)
        self.kind_of = np.asarray(kind_of, dtype=np.int64)
        self.kinds = list(kinds)
        self._tree = shapely.STRtree(self.geometries)

    def __len__(self) -> int:
        return len(self.geometries)

    def describe(self) -> dict[str, Any]:
        """Their number, and the kinds with the number of each."""
        counts = np.bincount(self.kind_of, minlength=len(self.kinds))
        return {
            "count": len(self),
            "kinds": [
                kind._asdict() | {"count": int(count)} for kind, count in zip(self.kinds, counts, strict=True)
            ],
        }

    def in_view(self, view: ViewBox) -> dict[str, Any]:
        """The shapes in a rectangle, at most `MAX_SHOWN`, simplified to half a pixel of the screen.

        Returns:
            {"total": their number, "shapes": [[kind, [ring, ...]], ...]}, a ring being [x, y, x, y, ...]; a point
            is a ring of one corner. If there are more, those shown are spread evenly over all.
        """
        box = shapely.box(view.x, view.y, view.x + view.width, view.y + view.height)
        found = np.sort(self._tree.query(box))
        shown = found[:: max(1, -(-len(found) // MAX_SHOWN))]
        outlines = [_rings(geometry, view.scale / 2) for geometry in self.geometries[shown]]
        kinds = self.kind_of[shown].tolist()
        return {"total": len(found), "shapes": [list(pair) for pair in zip(kinds, outlines, strict=True)]}

    def outside(self, size: tuple[int, int]) -> int:
        """How many lie, wholly or in part, outside a slide of (width, height)."""
        bounds = shapely.bounds(self.geometries).reshape(-1, 4)
        low, high = bounds[:, :2], bounds[:, 2:]
        return int(((low < 0) | (high > size)).any(axis=1).sum())


def truth_kinds(names: Sequence[str], colours: dict[str, str]) -> list[Kind]:
    """Kinds of annotations: the colour of the file, else one that prediction does not use."""
    return [
        Kind(name, colours.get(name, _TRUTH_COLOURS[index % len(_TRUTH_COLOURS)]))
        for index, name in enumerate(names)
    ]


def block_kinds(labels: Sequence[str]) -> list[Kind]:
    """Kinds of blocks by label, from blue for the first to red for the last."""
    last = max(len(labels) - 1, 1)
    return [Kind(name, _hue(2 / 3 * (1 - index / last))) for index, name in enumerate(labels)]


def _hue(hue: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, 0.6, 1.0))


def _rings(geometry: shapely.Geometry, tolerance_px: float) -> list[list[float]]:
    if geometry.geom_type == "Point":
        return [_flat(geometry.coords)]
    simple = shapely.simplify(geometry, tolerance_px, preserve_topology=False)
    if simple.is_empty:  # smaller than the tolerance
        simple = shapely.envelope(geometry)
    polygons = [part for part in shapely.get_parts(simple) if part.geom_type == "Polygon"]
    if not polygons:
        return [_flat(geometry.centroid.coords)]
    return [_flat(ring.coords) for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]


def _flat(coordinates: Any) -> list[float]:
    return np.round(np.asarray(coordinates)[:, :2].ravel(), 2).tolist()
