"""A slide's prediction on disk, opened for reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

QUPATH_BOUNDS = ("auto", "on", "off")
_NEEDED = ("slide", "slide_size", "slide_mpp", "mpp", "classes", "colours")


@dataclass(frozen=True)
class Prediction:
    """A prediction as `predict_slide` writes it; its arrays are read where they are sliced.

    Attributes:
        path: its folder.
        labels: uint8 (H, W), the class of every pixel; 255 where nothing was predicted.
        probabilities: uint8 (L, H, W), 255 for 1.
        about: its attributes: the slide, the model and so on.
    """

    path: Path
    labels: zarr.Array
    probabilities: zarr.Array
    about: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """The names of the L classes."""
        return self.about["classes"]

    @property
    def mpp(self) -> float:
        """Microns per pixel of the prediction."""
        return self.about["mpp"]

    @property
    def step(self) -> tuple[float, float]:
        """Level-0 pixels per pixel of the prediction, (x, y)."""
        own = self.about["slide_mpp"]
        return self.mpp / own[0], self.mpp / own[1]

    def class_ids(self, names: Sequence[str] | None) -> list[int]:
        """The ids of some classes; None: of all.

        Raises:
            ValueError: no class of a name.
        """
        for name in names or ():
            if name not in self.classes:
                raise ValueError(f"expected one of the classes {', '.join(self.classes)}, got {name!r}")
        return [index for index, name in enumerate(self.classes) if names is None or name in names]

    def likelihood(self, place: tuple[slice, slice], labels: np.ndarray) -> np.ndarray:
        """Each pixel's probability of its own class, uint8, 255 for 1; 0 where nothing was predicted.

        Args:
            place: rows and columns.
            labels: the classes there, (h, w).
        """
        found = np.zeros(labels.shape, np.uint8)
        for index in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[: len(self.classes)]):
            np.copyto(found, np.asarray(self.probabilities[(int(index), *place)]), where=labels == index)
        return found

    def qupath_corner(self, use: str) -> tuple[int, int]:
        """The level-0 pixel that QuPath calls (0, 0).

        QuPath shows only the bounds of a slide that has some (MIRAX, Leica), and counts pixels from their corner.

        Args:
            use: "auto": the corner of the bounds if the slide has some; "on": it must have some; "off": (0, 0).

        Raises:
            ValueError: "on", but the slide has no bounds, or another `use`.
        """
        if use not in QUPATH_BOUNDS:
            raise ValueError(f"expected QuPath's bounds as one of {', '.join(QUPATH_BOUNDS)}, got {use!r}")
        bounds = self.about.get("slide_bounds")
        if use == "on" and bounds is None:
            raise ValueError(f"{self.path}: the slide {self.about['slide']} is not known to have bounds")
        return (0, 0) if use == "off" or bounds is None else tuple(bounds[:2])


def open_prediction(path: str | Path) -> Prediction:
    """Open `NAME.zarr`, as `predict_slide` writes it.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no prediction.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"expected a prediction, found none at {path}")
    try:
        group = zarr.open_group(path, mode="r")
        about, labels, probabilities = dict(group.attrs), group["classes"], group["probabilities"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: expected a prediction of a slide ({error})") from error
    missing = [key for key in _NEEDED if key not in about]
    if missing:
        raise ValueError(f"{path}: expected a prediction of a slide, with the attributes {', '.join(missing)}")
    expected = (len(about["classes"]), *labels.shape)
    if labels.dtype != np.uint8 or probabilities.dtype != np.uint8 or probabilities.shape != expected:
        raise ValueError(f"{path}: expected probabilities {expected} in uint8, got {probabilities.shape}")
    return Prediction(path, labels, probabilities, about)
