"""Turn stains into colours: the Beer-Lambert law, noise and compression of the scanner."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def optical_density(rgb: np.ndarray) -> np.ndarray:
    """Compute OD = -ln(RGB / 255) of RGB in (0, 255], elementwise: float64, any shape."""
    return -np.log(np.asarray(rgb, dtype=np.float64) / 255.0)


def transmitted(density: np.ndarray) -> np.ndarray:
    """Compute RGB = 255 exp(-OD), elementwise, in [0, 255], in the float type of the density."""
    return 255.0 * np.exp(-density)


def beer_lambert(concentrations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Compute the colours of mixed stains: RGB = 255 exp(-sum_s c_s OD_s).

    Args:
        concentrations: (..., S), at least 0.
        vectors: (S, 3) optical densities of the stains at concentration 1.

    Returns:
        float64 (..., 3) in (0, 255].
    """
    return transmitted(np.asarray(concentrations, dtype=np.float64) @ vectors)


def jitter_stains(vectors: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Vary stains as between staining runs: channels and strengths are multiplied by exp(std * normal)."""
    channels = rng.normal(0.0, std / 2, vectors.shape)
    strengths = rng.normal(0.0, std, (len(vectors), 1))
    return vectors * np.exp(channels + strengths)


def scan(density: np.ndarray, noise_std: float, jpeg_quality: int | None, rng: np.random.Generator) -> np.ndarray:
    """Scan an optical density, float32 (H, W, 3), to an image, uint8 (H, W, 3)."""
    rgb = transmitted(density)
    if noise_std:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32)
        noise *= np.float32(noise_std)
        rgb += noise
    image = np.clip(rgb, 0, 255, out=rgb).round().astype(np.uint8)
    return image if jpeg_quality is None else _compressed(image, jpeg_quality)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))
