"""Read the images that overlays are drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lsr_ext.data.images import read_image


def read_image_like(path: Path, label_map: Any, map_path: Path) -> np.ndarray:
    """The image of a label map, uint8 (H, W, 3).

    Raises:
        ValueError: not a readable image, or not of the map's size; both files are named.
    """
    image = read_image(path)
    if image.shape[:2] != tuple(label_map.shape):
        raise ValueError(f"{path} is {size_text(image)}, {map_path} {size_text(label_map)}")
    return image


def size_text(array: Any) -> str:
    """Height and width for messages."""
    return f"{array.shape[0]} x {array.shape[1]} px"
