"""All that a page shows of one slide."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr_ext.data.geojson import qupath_corner
from lsr_ext.inference.prediction import Prediction, find_prediction
from lsr_ext.inference.slides import collect_slides
from lsr_ext.viewer.annotations import read_annotations, read_blocks
from lsr_ext.viewer.shapes import MAX_SHOWN, Shapes
from lsr_ext.viewer.tile_grid import TILE_PX, TileGrid
from lsr_ext.viewer.tiles import coarsest_level
from lsr_ext.wsi import Slide

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """A slide, and what lies over it.

    Attributes:
        slide: the slide.
        prediction: its prediction, or None.
        shapes: "regions" and "dots" of the truth, "blocks" of the cohort, as far as they are given.
    """

    slide: Slide
    prediction: Prediction | None
    shapes: dict[str, Shapes]

    @property
    def grid(self) -> TileGrid:
        """The pyramid of tiles, that of the slide and of all that lies over it."""
        return TileGrid(*self.slide.size)

    @classmethod
    def open(
        cls,
        slide: str | Path,
        prediction: str | Path | None = None,
        truth: str | Path | None = None,
        blocks: str | Path | None = None,
        mpp: float | None = None,
        qupath_bounds: str = "auto",
    ) -> View:
        """Open the files of a view.

        Args:
            slide: a file, or a CSV of `list_slides` that lists one.
            prediction: `NAME.zarr`, or the folder of `lsr predict`.
            truth: GeoJSON of regions and dots.
            blocks: manifest of `lsr cohort build`.
            mpp: microns per level-0 pixel in place of the file's.
            qupath_bounds: whether the truth counts from the corner of the slide's bounds: "auto", "on" or "off".

        Raises:
            FileNotFoundError, ValueError: a file that is missing, cannot be read, or belongs to another slide.
        """
        listed = collect_slides([slide])
        if len(listed) > 1:
            raise ValueError(f"{slide}: expected one slide, got {len(listed)}")
        opened = (listed[0] if mpp is None else listed[0]._replace(mpp=mpp)).open()
        shapes: dict[str, Shapes] = {}
        if truth is not None:
            found = read_annotations(truth, qupath_corner(opened.path.name, opened.bounds, qupath_bounds))
            shapes |= {"regions": found.regions, "dots": found.dots}
        if blocks is not None:
            shapes["blocks"] = read_blocks(blocks, opened.path)
        for name, some in shapes.items():
            if some.outside(opened.size):
                _logger.warning("%d of %d %s lie outside the slide", some.outside(opened.size), len(some), name)
        found_prediction = None if prediction is None else find_prediction(prediction, opened)
        return cls(opened, found_prediction, {name: some for name, some in shapes.items() if len(some)})

    def describe(self) -> dict[str, Any]:
        """What the page must know: sizes, resolution, classes, kinds of shapes."""
        about: dict[str, Any] = {
            "name": self.slide.path.name,
            "width": self.slide.size[0],
            "height": self.slide.size[1],
            "mpp": self.slide.mpp,
            "tile_px": TILE_PX,
            "last_level": self.grid.last_level,
            "first_level": coarsest_level(self.slide, self.grid),
            "prediction": None,
            "shapes": {name: some.describe() for name, some in self.shapes.items()},
            "max_shown": MAX_SHOWN,
        }
        if self.prediction is not None:
            pairs = zip(self.prediction.classes, self.prediction.colours, strict=True)
            about["prediction"] = {
                "classes": [{"name": name, "colour": colour} for name, colour in pairs],
                "mpp": self.prediction.mpp,
            }
        return about
