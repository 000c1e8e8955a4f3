"""A slide's prediction on disk, opened for reading: pixel by pixel, or at any scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import orjson
import zarr
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from lsr_ext.data.geojson import qupath_corner
from lsr_ext.faults import describe_faults
from lsr_ext.inference.map_sampler import MapSampler
from lsr_ext.inference.slide_store import NOT_PREDICTED

if TYPE_CHECKING:
    from lsr_ext.wsi import Slide

_Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _About(BaseModel):
    """The attributes that are read here; others may stand beside them."""

    slide: str
    slide_size: tuple[PositiveInt, PositiveInt]
    slide_mpp: tuple[_Above0, _Above0]
    slide_bounds: tuple[int, int, int, int] | None = None
    slide_view: dict[str, Any] = {}
    mpp: _Above0
    classes: list[str] = Field(min_length=1, max_length=NOT_PREDICTED)
    colours: list[Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]]


class Area(NamedTuple):
    """A picture over a slide: its corner in level-0 pixels, level-0 pixels per pixel, and its size in pixels."""

    x: float
    y: float
    downsample: float
    width: int
    height: int


class ClassMap:
    """The probabilities of one class, uint8 (H, W); read where they are sliced."""

    def __init__(self, probabilities: zarr.Array, index: int) -> None:
        self._probabilities, self._index = probabilities, index
        self.shape = probabilities.shape[1:]

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        return self._probabilities[(self._index, *place)]


class Prediction:
    """A prediction as `predict_slide` writes it; its arrays are read where they are sliced. Threads can share it.

    Attributes:
        path: its folder, `NAME.zarr`.
        labels: uint8 (H, W), the class of every pixel; 255 where nothing was predicted.
        probabilities: uint8 (L, H, W), 255 for 1; 0 where nothing was predicted.
        about: its attributes: the slide, the model and so on.
        classes: the names of the L classes.
        colours: "#rrggbb" of each.
        mpp: microns per pixel of the prediction.
        step: level-0 pixels per pixel of the prediction, (x, y).
    """

    def __init__(self, path: Path, labels: zarr.Array, probabilities: zarr.Array, about: dict[str, Any]) -> None:
        self.path, self.labels, self.probabilities, self.about = path, labels, probabilities, about
        self.classes: list[str] = about["classes"]
        self.colours: list[str] = about["colours"]
        self.mpp: float = about["mpp"]
        own = about["slide_mpp"]
        self.step = self.mpp / own[0], self.mpp / own[1]
        self._labels = MapSampler(labels, NOT_PREDICTED)
        self._class_maps = [MapSampler(self.class_map(index), 0) for index in range(len(self.classes))]

    def class_ids(self, names: Sequence[str] | None) -> list[int]:
        """The ids of some classes; None: of all.

        Raises:
            ValueError: no class of a name.
        """
        for name in names or ():
            if name not in self.classes:
                raise ValueError(f"expected one of the classes {', '.join(self.classes)}, got {name!r}")
        return [index for index, name in enumerate(self.classes) if names is None or name in names]

    def class_map(self, index: int) -> ClassMap:
        """The probabilities of one class."""
        return ClassMap(self.probabilities, index)

    def likelihood(self, place: tuple[slice, slice], labels: np.ndarray) -> np.ndarray:
        """Each pixel's probability of its own class, uint8, 255 for 1; 0 where nothing was predicted.

        Args:
            place: rows and columns.
            labels: the classes there, (h, w).
        """
        found = np.zeros(labels.shape, np.uint8)
        for index in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[: len(self.classes)]):
            np.copyto(found, self.class_map(int(index))[place], where=labels == index)
        return found

    def labels_of(self, area: Area, margin_px: int = 0) -> np.ndarray:
        """The class at the middle of each of an area's pixels, uint8 (height, width); 255: not predicted.

        Args:
            area: the picture.
            margin_px: also the pixels around it, on each side.
        """
        return self._labels.sample(*self._places(area, margin_px))

    def probabilities_of(self, area: Area, index: int) -> np.ndarray:
        """The probability of a class at the middle of each pixel of an area, uint8 (height, width); 255 for 1."""
        return self._class_maps[index].sample(*self._places(area, 0))

    def at(self, x: float, y: float) -> dict[str, Any] | None:
        """The class and the probabilities at a level-0 position; None: not predicted."""
        row, column = np.array([int(y // self.step[1])]), np.array([int(x // self.step[0])])
        label = int(self._labels.sample(row, column, 1)[0, 0])
        if label == NOT_PREDICTED:
            return None
        values = [int(sampler.sample(row, column, 1)[0, 0]) / 255 for sampler in self._class_maps]
        return {
            "class": self.classes[label],
            "probabilities": {name: round(value, 3) for name, value in zip(self.classes, values, strict=True)},
        }

    def check_slide(self, slide: Slide) -> None:
        """Refuse a prediction of another slide.

        Raises:
            ValueError: the slide differs in its name or its size, or another image of the file is open.
        """
        expected = self.about["slide"], list(self.about["slide_size"])
        if (slide.path.name, list(slide.size)) != expected:
            raise ValueError(
                f"{self.path} is a prediction of {expected[0]}, {expected[1][0]} x {expected[1][1]} px, "
                f"not of {slide.path.name}, {slide.size[0]} x {slide.size[1]} px"
            )
        image = self.about.get("slide_view", {}).get("image")
        if slide.view.image != image:
            raise ValueError(
                f"{self.path} is a prediction of the image {image or '(the largest)'} of {slide.path.name}, "
                f"not of {slide.view.image or '(the largest)'}"
            )

    def qupath_corner(self, use: str) -> tuple[int, int]:
        """The level-0 pixel that QuPath calls (0, 0); see `lsr_ext.data.geojson.qupath_corner`.

        Raises:
            ValueError: as there, or a prediction that does not say whether the slide has bounds.
        """
        if use != "off" and "slide_bounds" not in self.about:
            raise ValueError(f"{self.path} does not say whether the slide has bounds: predict again, or use off")
        return qupath_corner(self.about["slide"], self.about.get("slide_bounds"), use)

    def _places(self, area: Area, margin_px: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows and columns of the maps at the middle of each pixel of an area, and the distance of neighbours."""
        rows = np.arange(-margin_px, area.height + margin_px) + 0.5
        columns = np.arange(-margin_px, area.width + margin_px) + 0.5
        return (
            np.floor((area.y + rows * area.downsample) / self.step[1]).astype(np.int64),
            np.floor((area.x + columns * area.downsample) / self.step[0]).astype(np.int64),
            area.downsample / max(self.step),
        )


def open_prediction(path: str | Path) -> Prediction:
    """Open `NAME.zarr`, as `predict_slide` writes it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no prediction.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"expected a prediction of a slide, NAME.zarr of lsr predict, found none at {path}"
        )
    try:
        # Of the format that is written alone: codecs of the older one may unpickle.
        group = zarr.open_group(path, mode="r", zarr_format=3)
        about, labels, probabilities = dict(group.attrs), group["classes"], group["probabilities"]
        _About.model_validate_json(orjson.dumps(about), strict=True)  # of JSON, as lists stand for tuples
    except ValidationError as error:
        faults = "; ".join(describe_faults(error, "attributes"))
        raise ValueError(f"{path}: expected the attributes of a prediction of a slide: {faults}") from error
    except Exception as error:  # zarr raises many kinds of errors on damaged metadata
        raise ValueError(f"{path}: expected a prediction of a slide ({error})") from error
    for name, array, ndim in (("classes", labels, 2), ("probabilities", probabilities, 3)):
        if not isinstance(array, zarr.Array) or array.ndim != ndim or array.dtype != np.uint8:
            raise ValueError(f"{path}: expected {name} as an array of {ndim} dimensions in uint8, got {array}")
    count = len(about["classes"])
    if probabilities.shape != (count, *labels.shape) or len(about["colours"]) != count:
        raise ValueError(
            f"{path}: expected probabilities {(count, *labels.shape)} and {count} colours, got "
            f"{probabilities.shape} and {len(about['colours'])}"
        )
    return Prediction(path, labels, probabilities, about)


def find_prediction(path: str | Path, slide: Slide) -> Prediction:
    """Open the prediction of a slide: `NAME.zarr`, or the folder of `lsr predict` that it lies in.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not a prediction, or one of another slide.
    """
    path = Path(path)
    inside = path / f"{slide.path.stem}.zarr"
    prediction = open_prediction(inside if path.suffix != ".zarr" and inside.is_dir() else path)
    prediction.check_slide(slide)
    return prediction
