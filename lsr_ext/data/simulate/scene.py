"""The objects of a simulated field and their positions: cells, nuclei without a marker, and debris."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from statistics import NormalDist

import numpy as np
from scipy.spatial import cKDTree

from lsr_ext.data.simulate.options import CELL_KINDS, MARKERS, MPP, NUCLEUS, FieldOptions

REGION_PX = 400
FIRST_WAVE, LAST_WAVE = 2, 5  # of an outline, per turn
_REDRAWS = 12
_PALE = 1 / 3
_COVERED = 0.4  # share of a nucleus' counterstain that is visible under a marker
_MEAN_RADIUS_PX = float(np.mean([kind.radius_px for kind in CELL_KINDS]))


@dataclass(frozen=True)
class Scene:
    """M objects, marked cells first.

    Attributes:
        xy: float64 (M, 2), centres in pixels from the top left corner.
        class_id: int64 (M,), 1 to 5 for marked cells, else 0.
        radius_px, elongation, angle, membrane, edge_px: float32 (M,); `edge_px` is how soft the rim is.
        waves: complex64 (M, 4), relative amplitude and phase of the outline's waves of 2 to 5 periods.
        markers: float32 (M, 5), concentrations of the markers.
        nucleus: float32 (M,), concentration of the counterstain.
        nucleus_size: float32 (M,), the nucleus' radius over the object's.
    """

    xy: np.ndarray
    class_id: np.ndarray
    radius_px: np.ndarray
    elongation: np.ndarray
    angle: np.ndarray
    membrane: np.ndarray
    edge_px: np.ndarray
    waves: np.ndarray
    markers: np.ndarray
    nucleus: np.ndarray
    nucleus_size: np.ndarray

    def __len__(self) -> int:
        return len(self.xy)

    def part(self, which: np.ndarray | slice) -> Scene:
        """Return the objects of an index or a Boolean mask."""
        return Scene(**{name: values[which] for name, values in vars(self).items()})


def draw_scene(size_px: int, options: FieldOptions, rng: np.random.Generator) -> Scene:
    """Draw the objects of a square field, whose regions of REGION_PX have different densities."""
    corners, sides = _regions(size_px)
    areas_mm2 = sides.prod(axis=1) * (MPP / 1000) ** 2
    counts = _cell_counts(areas_mm2, options, rng)
    nuclei = rng.poisson(areas_mm2 * options.nuclei_per_mm2)
    debris = rng.poisson(areas_mm2 * options.debris_per_mm2)
    region, class_id = _listed(np.column_stack([counts, nuclei]))
    class_id = np.where(class_id == len(MARKERS), 0, class_id + 1)
    order = rng.permutation(len(class_id))
    order = order[np.argsort(class_id[order] == 0, kind="stable")]  # marked cells first: they are not moved
    region, class_id = region[order], class_id[order]
    xy, kept = _spread(corners[region], sides[region], (1 - options.overlap) * 2 * _MEAN_RADIUS_PX, rng)
    cells = _cells(xy[kept], class_id[kept], options, rng)
    at = np.repeat(np.arange(len(sides)), debris)
    rubbish = _debris(corners[at] + sides[at] * rng.random((len(at), 2)), rng)
    return Scene(**{name: np.concatenate([vars(cells)[name], vars(rubbish)[name]]) for name in vars(cells)})


def _regions(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    starts = np.arange(0, size_px, REGION_PX)
    lengths = np.minimum(REGION_PX, size_px - starts)
    x, y = (axis.ravel() for axis in np.meshgrid(starts, starts))
    width, height = (axis.ravel() for axis in np.meshgrid(lengths, lengths))
    return np.column_stack([x, y]), np.column_stack([width, height])


def _cell_counts(areas_mm2: np.ndarray, options: FieldOptions, rng: np.random.Generator) -> np.ndarray:
    """int64 (regions, 5). P(density >= high) = share is log(d / high) = spread (g + quantile(share)), g normal."""
    shift = np.array([NormalDist().inv_cdf(share) for share in options.high_shares])
    normal = rng.standard_normal((len(areas_mm2), len(shift)))
    density = options.high_per_mm2 * np.exp(options.density_spread * (normal + shift))
    return np.rint(np.minimum(density, options.max_per_mm2) * areas_mm2[:, None]).astype(np.int64)


def _listed(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and column of each object that is counted in a table."""
    rows, columns = np.indices(counts.shape)
    return np.repeat(rows.ravel(), counts.ravel()), np.repeat(columns.ravel(), counts.ravel())


def _spread(
    corners: np.ndarray, sides: np.ndarray, distance_px: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw uniform positions in regions; an object too near to an earlier one moves, and is finally dropped."""
    xy = corners + sides * rng.random(sides.shape)
    for _ in range(_REDRAWS):
        crowded = _too_near(xy, distance_px)
        if not crowded.any():
            break
        xy[crowded] = corners[crowded] + sides[crowded] * rng.random((crowded.sum(), 2))
    return xy, ~_too_near(xy, distance_px)


def _too_near(xy: np.ndarray, distance_px: float) -> np.ndarray:
    crowded = np.zeros(len(xy), dtype=bool)
    if len(xy) < 2:
        return crowded
    pairs = cKDTree(xy).query_pairs(distance_px, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        # An object that moves away does not block others.
        if not crowded[first]:
            crowded[second] = True
    return crowded


def _cells(xy: np.ndarray, class_id: np.ndarray, options: FieldOptions, rng: np.random.Generator) -> Scene:
    count = len(xy)
    marked = class_id > 0
    kinds = np.array([astuple(kind) for kind in (NUCLEUS, *CELL_KINDS)])
    radius, irregularity, elongation, membrane = kinds[class_id].T
    # More stain at the rim than in the middle; the mean is about 1.
    strength = (1 + membrane / 2) * rng.lognormal(0.0, 0.2, count)
    strength[rng.random(count) < options.pale_share] *= _PALE
    markers = np.zeros((count, len(MARKERS)))
    own = np.flatnonzero(marked)
    markers[own, class_id[own] - 1] = 1.0
    second = (class_id[own] - 1 + rng.integers(1, len(MARKERS), len(own))) % len(MARKERS)
    markers[own, second] = options.mixing * rng.random(len(own))
    return _scene(
        xy=xy,
        class_id=class_id,
        radius_px=radius * np.clip(rng.normal(1.0, 0.12, count), 0.7, 1.3),
        elongation=1 + (elongation - 1) * 2 * rng.random(count),
        angle=rng.uniform(0, np.pi, count),
        membrane=membrane,
        edge_px=np.full(count, 1.5),
        waves=_waves(irregularity, rng),
        markers=markers * strength[:, None],
        nucleus=options.counterstain * np.where(marked, _COVERED, 1.0) * rng.lognormal(0.0, 0.3, count),
        nucleus_size=np.where(marked, rng.uniform(0.5, 0.7, count), 1.0),
    )


def _debris(xy: np.ndarray, rng: np.random.Generator) -> Scene:
    """Draw debris: half of it specks, the rest streaks and smears with a soft rim."""
    count = len(xy)
    # radius, elongation, irregularity, softness of the rim, concentration
    kinds = np.array([(1.8, 1.3, 0.2, 0.8, 1.1), (2.6, 5.0, 0.15, 1.0, 0.9), (8.0, 1.8, 0.3, 6.0, 0.55)])
    radius, elongation, irregularity, edge, strength = kinds[rng.choice(3, count, p=(0.5, 0.2, 0.3))].T
    markers = np.zeros((count, len(MARKERS)))
    markers[np.arange(count), rng.integers(0, len(MARKERS), count)] = strength * rng.lognormal(0.0, 0.3, count)
    return _scene(
        xy=xy,
        class_id=np.zeros(count, dtype=np.int64),
        radius_px=radius * rng.uniform(0.7, 1.3, count),
        elongation=1 + (elongation - 1) * rng.uniform(0.5, 1.0, count),
        angle=rng.uniform(0, np.pi, count),
        membrane=np.zeros(count),
        edge_px=edge,
        waves=_waves(irregularity, rng),
        markers=markers,
        nucleus=np.zeros(count),
        nucleus_size=np.ones(count),
    )


def _waves(irregularity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw waves whose amplitudes decrease with their number, for smooth outlines; their sum is at most 0.6."""
    periods = np.arange(FIRST_WAVE, LAST_WAVE + 1)
    shape = (len(irregularity), len(periods))
    amplitudes = irregularity[:, None] * np.abs(rng.standard_normal(shape)) * 2 / periods
    amplitudes *= np.minimum(1, 0.6 / np.maximum(amplitudes.sum(axis=1, keepdims=True), 1e-9))
    return amplitudes * np.exp(2j * np.pi * rng.random(shape))


def _scene(xy: np.ndarray, class_id: np.ndarray, waves: np.ndarray, **numbers: np.ndarray) -> Scene:
    singles = {name: values.astype(np.float32) for name, values in numbers.items()}
    return Scene(xy=xy, class_id=class_id, waves=waves.astype(np.complex64), **singles)
