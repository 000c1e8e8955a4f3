"""Draw a scene: turn outlines into optical density and into exact masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from lsr_ext.data.simulate.optics import optical_density
from lsr_ext.data.simulate.options import TISSUE_RGB
from lsr_ext.data.simulate.scene import FIRST_WAVE, Scene

_BATCH = 32


def draw_objects(scene: Scene, vectors: np.ndarray, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw every object of a scene.

    Concentrations of neighbours add up where they overlap. A pixel in several marked cells belongs to the one
    whose centre is nearest, in units of the radius of the outline, so each cell has the pixel at its centre.

    Args:
        scene: the objects.
        vectors: (6, 3) optical densities of the five markers and of haematoxylin at concentration 1.
        size_px: side of the field, in pixels.

    Returns:
        density: float32 (H, W, 3), optical density of the stains; instances: int32 (H, W), 1 + the index of the
        marked cell in the scene, 0 elsewhere.
    """
    reach = _reaches(scene)
    pad = int(reach.max(initial=0))
    side = size_px + 2 * pad
    density = np.zeros((side, side, 3), np.float32)
    instances = np.zeros((side, side), np.int32)
    nearest = np.ones((side, side), np.float32)
    vectors = vectors.astype(np.float32)
    for members in _batches(reach):
        part, size = scene.part(members), int(reach[members].max())
        whole = np.floor(part.xy).astype(np.int64)
        depth, stain, nucleus = _patches(part, (part.xy - whole).astype(np.float32), size)
        colours = stain[..., None] * (part.markers @ vectors[:-1])[:, None, None]
        colours += nucleus[..., None] * (part.nucleus[:, None] * vectors[-1])[:, None, None]
        for index, (x, y) in enumerate(whole + pad - size):
            window = np.s_[y : y + 2 * size + 1, x : x + 2 * size + 1]
            density[window] += colours[index]
            if part.class_id[index]:
                inside = depth[index] < nearest[window]
                instances[window][inside] = members[index] + 1
                nearest[window][inside] = depth[index][inside]
    marked = np.flatnonzero(scene.class_id)
    column, row = np.floor(scene.xy[marked]).astype(np.int64).T + pad
    instances[row, column] = marked + 1  # also for a cell so thin that a neighbour's centre is nearer
    inner = np.s_[pad : pad + size_px, pad : pad + size_px]
    return density[inner], instances[inner]


def bleed(density: np.ndarray, share: float, sigma_px: float) -> np.ndarray:
    """Let a share of the stain spread by a Gaussian blur: (1 - share) D + share (G * D).

    Density is linear in the concentrations, so this blurs each stain alike.
    """
    if not share or not sigma_px:
        return density
    blurred = gaussian_filter(density, (sigma_px, sigma_px, 0), truncate=3)
    return density * np.float32(1 - share) + blurred * np.float32(share)


def tissue_texture(size_px: int, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw background density, float32 (H, W, 3), and uneven uptake of stains, float32 (H, W, 1), around 1."""
    grain = rng.standard_normal([size_px // 2 + 2] * 2, dtype=np.float32)
    # Fine and coarse clouds: a blur of white noise by sigma has a variance of 1 / (4 pi sigma^2).
    clouds = sum(gaussian_filter(grain, sigma, truncate=3) * sigma * 2 * np.sqrt(np.pi) for sigma in (2, 12))
    amount = np.maximum(1 + 0.3 * _doubled(clouds, size_px), 0) * np.float32(strength)
    uptake = np.clip(1 + 0.25 * strength * _doubled(grain, size_px), 0.3, 1.7)
    return amount[..., None] * optical_density(TISSUE_RGB).astype(np.float32), uptake[..., None]


def _doubled(values: np.ndarray, size_px: int) -> np.ndarray:
    """Double the resolution by linear interpolation: (size_px, size_px)."""
    for axis in (0, 1):
        rows = np.moveaxis(values, axis, 0)[: size_px // 2 + 2]
        doubled = np.empty((2 * len(rows) - 1, *rows.shape[1:]), np.float32)
        doubled[::2] = rows
        doubled[1::2] = (rows[:-1] + rows[1:]) / 2
        values = np.moveaxis(doubled[:size_px], 0, axis)
    return values


def _reaches(scene: Scene) -> np.ndarray:
    """Return how many pixels from its central pixel each object may reach: int64 (M,)."""
    waves = 1 + np.abs(scene.waves).sum(axis=1)
    extent = scene.radius_px * np.sqrt(scene.elongation) * waves + scene.edge_px / 2
    return np.ceil(extent).astype(np.int64) + 1


def _batches(reach: np.ndarray) -> Iterator[np.ndarray]:
    # Objects of similar size together, so that their patches are as small as possible.
    order = np.argsort(reach, kind="stable")
    for start in range(0, len(order), _BATCH):
        yield order[start : start + _BATCH]


def _patches(scene: Scene, shift: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each object, float32 (M, P, P): distance over outline radius, profiles of marker and nucleus.

    P = 2 reach + 1; `shift` (M, 2) is the position of the centre in the middle pixel.
    """
    offsets = np.arange(-reach, reach + 1, dtype=np.float32) + 0.5
    x, y = shift.T[:, :, None, None]
    across, down = offsets - x, offsets[:, None] - y
    cos, sin = np.cos(scene.angle)[:, None, None], np.sin(scene.angle)[:, None, None]
    stretch = np.sqrt(scene.elongation)[:, None, None]
    along, aside = (across * cos + down * sin) / stretch, (down * cos - across * sin) * stretch
    distance = np.maximum(np.sqrt(along**2 + aside**2), np.float32(1e-6))
    direction = (along + 1j * aside) * (1 / distance)
    outline = 0
    for wave in scene.waves.T[::-1, :, None, None]:  # Horner: sum_k wave_k direction^k, k from FIRST_WAVE
        outline = (outline + wave) * direction
    for _ in range(FIRST_WAVE - 1):
        outline = outline * direction
    outline = 1 + outline.real
    depth = distance / (outline * scene.radius_px[:, None, None])
    rim = scene.radius_px[:, None, None]
    within = np.clip((1 - depth) * rim / scene.edge_px[:, None, None] + 0.5, 0, 1)
    membrane = scene.membrane[:, None, None]
    stain = within * (1 - membrane + membrane * np.minimum(depth, 1) ** 2)
    size = scene.nucleus_size[:, None, None]
    return depth, stain, np.clip((size - depth) * rim / 2 + 0.5, 0, 1)
