"""Real Ki67 tiles with masks of positive nuclei, if they are available."""

from pathlib import Path

import numpy as np

from lsr_ext.data import list_images, read_image

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "ihc_ki67_deepliif"


def read_tiles() -> list[tuple[np.ndarray, np.ndarray]]:
    """Four tiles of 512 x 512 px: uint8 (H, W, 3), and bool (H, W): positive nuclei without their rims."""
    tiles = []
    for path in list_images(REAL / "images"):
        red, green, blue = np.moveaxis(read_image(REAL / "masks" / path.name), -1, 0)
        tiles.append((read_image(path), (red > 120) & (green < 100) & (blue < 100)))
    return tiles


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())
