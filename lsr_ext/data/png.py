"""Write images as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lsr_ext.files import written_whole


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write a PNG file; its folder is created if needed.

    Args:
        path: the file.
        pixels: uint8 (H, W), grey or class ids, or uint8 (H, W, 3).
    """
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="png")
