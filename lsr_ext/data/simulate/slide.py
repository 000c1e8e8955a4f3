"""A simulated section of tissue on glass, as on a slide."""

from __future__ import annotations

import numpy as np

from lsr_ext.data.simulate.drawing import tissue_texture
from lsr_ext.data.simulate.fields import SimulatedField, check_size, develop
from lsr_ext.data.simulate.options import FieldOptions
from lsr_ext.data.simulate.scene import draw_scene

_GLASS_SHARE = 0.06  # share of the side, on average, between the tissue and each edge


def simulate_section(
    size_px: int = 2048, seed: int | tuple[int, ...] = 0, options: FieldOptions | None = None
) -> SimulatedField:
    """Simulate a section with glass around it, like `simulate_field`; each region of 400 um has its own densities.

    The image is not compressed; the tiles of a slide are.

    Raises:
        ValueError: a size out of range.
    """
    options = options or FieldOptions()
    check_size(size_px)
    rng = np.random.default_rng(seed)
    tissue = _section(size_px, rng)
    scene = draw_scene(size_px, options, rng)
    column, row = np.floor(scene.xy).astype(np.int64).T
    scene = scene.part(tissue[row, column])
    texture, uptake = tissue_texture(size_px, options.texture, rng)
    texture *= tissue[..., None]
    return develop(scene, texture, uptake, size_px, options, rng, jpeg_quality=None)


def _section(size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return where the tissue is: bool (H, W), inside a rounded square with a wavy outline."""
    x = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px * 2 - 1
    y = x[:, None]
    angle = np.arctan2(y, x)
    waves = sum(
        amplitude * np.cos(periods * angle + rng.uniform(0, 2 * np.pi))
        for periods, amplitude in ((2, 0.02), (3, 0.02), (5, 0.015), (9, 0.01))
    )
    distance = (x**4 + y**4) ** 0.25
    return distance < 1 - 2 * _GLASS_SHARE + waves
