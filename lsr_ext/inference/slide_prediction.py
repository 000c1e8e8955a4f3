"""A slide's prediction, read at any scale: values at level-0 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

from lsr_ext.inference.map_sampler import MapSampler
from lsr_ext.inference.slide_store import NOT_PREDICTED
from lsr_ext.wsi import Slide

_NEEDED = ("slide", "slide_size", "slide_mpp", "mpp", "classes", "colours")


class Area(NamedTuple):
    """A picture over a slide: its corner in level-0 pixels, level-0 pixels per pixel, and its size in pixels."""

    x: float
    y: float
    downsample: float
    width: int
    height: int


class SlidePrediction:
    """The label map and the probabilities of one slide. Threads can share it.

    Attributes:
        path: folder of the prediction, `NAME.zarr`.
        group: its arrays, `classes` and `probabilities`.
        about: its attributes; see `lsr_ext.inference.slide_store.PredictionStore`.
        classes: names of the L classes.
        colours: "#rrggbb" of each.
        step: level-0 pixels per pixel of the maps, (x, y).
    """

    def __init__(self, path: Path) -> None:
        self.group, self.about = _open(path)
        self.path = path
        self.classes: list[str] = list(self.about["classes"])
        self.colours: list[str] = list(self.about["colours"])
        own = self.about["slide_mpp"]
        self.step = self.about["mpp"] / own[0], self.about["mpp"] / own[1]
        self._classes = MapSampler(self.group["classes"], NOT_PREDICTED)
        stored = self.group["probabilities"]
        self._probabilities = [MapSampler(_OfClass(stored, index), 0) for index in range(len(self.classes))]

    def check_slide(self, slide: Slide) -> None:
        """Refuse a prediction of another slide.

        Raises:
            ValueError: the slide differs in its name or its size.
        """
        expected = self.about["slide"], list(self.about["slide_size"])
        if (slide.path.name, list(slide.size)) != expected:
            raise ValueError(
                f"{self.path} is a prediction of {expected[0]}, {expected[1][0]} x {expected[1][1]} px, "
                f"not of {slide.path.name}, {slide.size[0]} x {slide.size[1]} px"
            )

    def labels(self, area: Area, margin_px: int = 0) -> np.ndarray:
        """The class at the middle of each of an area's pixels, uint8 (height, width); 255: not predicted.

        Args:
            area: the picture.
            margin_px: also the pixels around it, on each side.
        """
        return self._classes.sample(*self._places(area, margin_px))

    def probabilities(self, area: Area, index: int) -> np.ndarray:
        """The probability of a class at the middle of each pixel of an area, uint8 (height, width); 255 for 1."""
        return self._probabilities[index].sample(*self._places(area, 0))

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """A rectangle of the maps in their own pixels: class ids, uint8 (height, width), and probabilities, uint8
        (L, height, width), 255 for 1; smaller at the maps' edges.
        """
        place = slice(top, top + height), slice(left, left + width)
        return self.group["classes"][place], self.group["probabilities"][(slice(None), *place)]

    def at(self, x: float, y: float) -> dict[str, Any] | None:
        """The class and the probabilities at a level-0 position; None: not predicted."""
        row, column = np.array([int(y // self.step[1])]), np.array([int(x // self.step[0])])
        label = int(self._classes.sample(row, column, 1)[0, 0])
        if label == NOT_PREDICTED:
            return None
        values = [int(sampler.sample(row, column, 1)[0, 0]) / 255 for sampler in self._probabilities]
        return {
            "class": self.classes[label],
            "probabilities": {name: round(value, 3) for name, value in zip(self.classes, values, strict=True)},
        }

    def _places(self, area: Area, margin_px: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows and columns of the maps at the middle of each pixel of an area, and the distance of neighbours."""
        rows = np.arange(-margin_px, area.height + margin_px) + 0.5
        columns = np.arange(-margin_px, area.width + margin_px) + 0.5
        return (
            np.floor((area.y + rows * area.downsample) / self.step[1]).astype(np.int64),
            np.floor((area.x + columns * area.downsample) / self.step[0]).astype(np.int64),
            area.downsample / max(self.step),
        )


def find_prediction(path: str | Path, slide: Slide) -> SlidePrediction:
    """Open the prediction of a slide: `NAME.zarr`, or the folder of `lsr predict` that it lies in.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not a prediction, or one of another slide.
    """
    path = Path(path)
    inside = path / f"{slide.path.stem}.zarr"
    prediction = SlidePrediction(inside if path.suffix != ".zarr" and inside.is_dir() else path)
    prediction.check_slide(slide)
    return prediction


class _OfClass:
    """One class of the probabilities as an array (H, W)."""

    def __init__(self, stored: zarr.Array, index: int) -> None:
        self._stored, self._index = stored, index
        self.shape = stored.shape[1:]

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        return self._stored[(self._index, *place)]


def _open(path: Path) -> tuple[zarr.Group, Mapping[str, Any]]:
    if not path.is_dir():
        raise FileNotFoundError(
            f"expected the prediction of a slide, NAME.zarr of lsr predict, found none at {path}"
        )
    try:
        group = zarr.open_group(path, mode="r")
        about = dict(group.attrs)
        shapes = group["classes"].shape, group["probabilities"].shape
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a readable prediction of a slide ({error})") from error
    missing = [name for name in _NEEDED if name not in about]
    if missing:
        raise ValueError(f"{path}: not a prediction of a slide, {', '.join(missing)} missing")
    expected = (len(about["classes"]), *shapes[0])
    if len(shapes[0]) != 2 or shapes[1] != expected or len(about["colours"]) != len(about["classes"]):
        raise ValueError(f"{path}: expected probabilities {expected} and as many colours, got {shapes[1]}")
    if any(group[name].dtype != np.uint8 for name in ("classes", "probabilities")):
        raise ValueError(f"{path}: expected maps of uint8")
    return group, about
