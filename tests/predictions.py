"""Predictions of slides for tests, written without predicting, and random label maps."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from lsr_ext.inference.slide_store import NOT_PREDICTED, PredictionStore
from lsr_ext.inference.window_grid import Rectangle


def random_map(rng: np.random.Generator, largest_px: int = 26) -> np.ndarray:
    """Classes uint8 of a few pixels: noise, squares that meet at corners, nested blobs, or lone pixels.

    In half of them one class was not predicted (255).
    """
    height, width = rng.integers(1, largest_px, 2)
    count = int(rng.integers(2, 5))
    kind = rng.integers(4)
    if kind == 0:
        labels = rng.integers(0, count, (height, width))
    elif kind == 1:
        squares = rng.integers(0, count, (height // 3 + 1, width // 3 + 1))
        labels = np.kron(squares, np.ones((3, 3), int))[:height, :width]
    elif kind == 2:
        labels = (gaussian_filter(rng.normal(size=(height, width)), 1.5) * 30).round().astype(int) % count
    else:
        labels = rng.random((height, width)) < 0.3 * rng.random()
    labels = labels.astype(np.uint8)
    if rng.random() < 0.5:
        labels[labels == rng.integers(count)] = NOT_PREDICTED
    return labels


def write_prediction(
    path: Path,
    labels: np.ndarray,
    probabilities: np.ndarray | None = None,
    *,
    mpp: float = 0.5,
    slide_mpp: float = 0.25,
    bounds: list[int] | None = None,
    names: tuple[str, ...] = ("glass", "tumour", "stroma", "necrosis"),
) -> Path:
    """Write a prediction of these classes; by default the probability of each is 1 where it is."""
    count = len(names)
    if probabilities is None:
        probabilities = (255 * (labels == np.arange(count)[:, None, None])).astype(np.uint8)
    height, width = labels.shape
    about = {
        "slide": f"{path.stem}.tif",
        "slide_size": [round(width * mpp / slide_mpp), round(height * mpp / slide_mpp)],
        "slide_mpp": [slide_mpp, slide_mpp],
        "slide_bounds": bounds,
        "mpp": mpp,
        "classes": list(names),
        "colours": [f"#{16 * index + 1:02x}8040" for index in range(count)],
    }
    store = PredictionStore(path, (count, height, width), about)
    store.write(Rectangle(0, 0, height, width), labels, probabilities)
    return store.finish()
