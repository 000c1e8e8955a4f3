"""Simulated multiplex fields with exact masks, dots and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsr_ext.data.simulate.drawing import bleed, draw_objects, tissue_texture
from lsr_ext.data.simulate.optics import jitter_stains, optical_density, scan
from lsr_ext.data.simulate.options import CLASSES, HAEMATOXYLIN_RGB, MARKERS, MPP, STAIN_RGB, FieldOptions
from lsr_ext.data.simulate.scene import Scene, draw_scene

STAIN_VECTORS = optical_density(np.vstack([STAIN_RGB, HAEMATOXYLIN_RGB]))
MAX_SIZE_PX = 8192


@dataclass(frozen=True)
class SimulatedField:
    """A square field of simulated multiplex IHC, 1 um per pixel.

    Attributes:
        image: uint8 (H, W, 3).
        mask: int64 (H, W), class ids: 0 background, 1 to 5 the markers.
        instances: int32 (H, W), 0 or 1 + the index of the cell in `dots`.
        dots: float64 (M, 2), x and y of the cells' centres in pixels from the top left corner; the pixel of a dot,
            floor(x) and floor(y), lies in its cell.
        dot_classes: int64 (M,), 1 to 5.
        classes: the names of the ids 0 to 5.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    dots: np.ndarray
    dot_classes: np.ndarray
    classes: tuple[str, ...] = CLASSES


def simulate_field(
    size_px: int = 400, seed: int | Sequence[int] = 0, options: FieldOptions | None = None
) -> SimulatedField:
    """Simulate one field: stained cells mix by the Beer-Lambert law, I = 255 exp(-sum_s c_s OD_s).

    Args:
        size_px: side of the field, 1 to 8192.
        seed: a seed for NumPy's generators; equal seeds give equal fields.
        options: numbers of cells and difficulties; None: the defaults.

    Raises:
        ValueError: a size out of range.
    """
    options = options or FieldOptions()
    check_size(size_px)
    rng = np.random.default_rng(seed)
    scene = draw_scene(size_px, options, rng)
    texture, uptake = tissue_texture(size_px, options.texture, rng)
    return develop(scene, texture, uptake, size_px, options, rng, options.jpeg_quality)


def check_size(size_px: int) -> None:
    """Raise a ValueError unless the side of a field is in [1, MAX_SIZE_PX]."""
    if not 1 <= size_px <= MAX_SIZE_PX:
        raise ValueError(f"expected size_px from 1 to {MAX_SIZE_PX}, got {size_px}")


def develop(
    scene: Scene,
    texture: np.ndarray,
    uptake: np.ndarray,
    size_px: int,
    options: FieldOptions,
    rng: np.random.Generator,
    jpeg_quality: int | None,
) -> SimulatedField:
    """Stain, blur and scan a scene over a background of optical density `texture`; see `tissue_texture`."""
    vectors = jitter_stains(STAIN_VECTORS, options.stain_jitter, rng)
    density, instances = draw_objects(scene, vectors, size_px)
    density = bleed(density * uptake, options.bleed, options.bleed_px) + texture
    marked = scene.class_id > 0
    ids = np.concatenate([[0], scene.class_id[marked]])
    return SimulatedField(
        image=scan(density, options.noise_std, jpeg_quality, rng),
        mask=ids[instances],
        instances=instances,
        dots=scene.xy[marked],
        dot_classes=scene.class_id[marked],
    )


def simulate_fields(
    count: int, size_px: int = 400, seed: int = 0, options: FieldOptions | None = None
) -> list[SimulatedField]:
    """Simulate `count` fields; each depends only on the seed and its index, not on the count."""
    return [simulate_field(size_px, (seed, index), options) for index in range(count)]


def simulate_labels(
    fields: Sequence[SimulatedField],
    *,
    least_per_mm2: float = 100.0,
    quantile: float | None = None,
    count_noise: float = 0.0,
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """Label each marker of each field "high" (1) or "low" (0) by its number of cells.

    Args:
        fields: N fields.
        least_per_mm2: smallest number of cells per mm2 of a high field; 100 are 16 cells in a field of 400 um.
        quantile: in (0, 1); if given, a field is high if it exceeds this quantile of a marker's counts per mm2.
        count_noise: relative standard deviation of an annotator's estimate of the counts.
        seed: random seed of that noise.

    Returns:
        int64 (N, 5), in the order of the markers.

    Raises:
        ValueError: no fields, a quantile out of range, or a negative or infinite number.
    """
    if not fields:
        raise ValueError("expected at least one field, got none")
    if quantile is not None and not 0 < quantile < 1:
        raise ValueError(f"expected a quantile in (0, 1), got {quantile}")
    for name, value in (("least_per_mm2", least_per_mm2), ("count_noise", count_noise)):
        if not 0 <= value < np.inf:
            raise ValueError(f"expected a finite {name} of at least 0, got {value}")
    counts = np.array([np.bincount(f.dot_classes, minlength=len(CLASSES))[1:] for f in fields], dtype=np.float64)
    areas_mm2 = np.array([f.mask.size for f in fields]) * (MPP / 1000) ** 2
    noise = np.random.default_rng(seed).normal(1.0, count_noise, (len(fields), len(MARKERS)))
    density = counts * noise / areas_mm2[:, None]
    if quantile is None:
        return (density >= least_per_mm2 * (1 - 1e-9)).astype(np.int64)
    return (density > np.quantile(density, quantile, axis=0)).astype(np.int64)
