"""The regions of a label map as a table: the detections that `score_cells` counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsr_ext.metrics._kernels import load_kernels
from lsr_ext.metrics.regions import RegionScan, check_label_map, strip_rows
from lsr_ext.progress import track_progress


@dataclass(frozen=True)
class RegionTable:
    """N regions, by the row and column where each begins.

    Attributes:
        classes: the names of the classes, of which `class_index`, int (N,), names each region's.
        xy: float64 (N, 2), the centroid in pixels of the map; the centre of the first pixel is (0.5, 0.5).
        area_px: int64 (N,), the number of pixels.
        mean: float64 (N,), the mean of the values over the pixels; NaN if none were given.

    Example:
        >>> import numpy as np
        >>> found = find_regions(np.array([[1, 0, 2]]), {"a": 1, "b": 2})
        >>> len(found), [found.classes[index] for index in found.class_index]
        (2, ['a', 'b'])
    """

    classes: tuple[str, ...]
    class_index: np.ndarray
    xy: np.ndarray
    area_px: np.ndarray
    mean: np.ndarray

    def __len__(self) -> int:
        return len(self.area_px)


def find_regions(
    label_map: Any,
    classes: Mapping[str, int],
    *,
    min_area_px: float = 1,
    values: Callable[[slice, np.ndarray], np.ndarray] | None = None,
) -> RegionTable:
    """Find the regions that `score_cells` counts: sets of at least `min_area_px` 8-connected pixels of one class.

    The map is read in strips of whole rows; memory grows with the number of regions alone.

    Args:
        label_map: integer (H, W) class ids, an array that can be sliced by rows.
        classes: name -> id in the map; other ids are background.
        min_area_px: the smallest region that counts.
        values: the rows of a strip and its class ids -> a value for each of its pixels.

    Raises:
        TypeError: the map is not integer.
        ValueError: a map that is not (H, W), no classes or two with one id, or an area below 0.
        ModuleNotFoundError: numba is not installed; it is in the extra `lsr_ext[metrics]`.

    Example:
        >>> import numpy as np
        >>> label_map = np.zeros((6, 6), np.uint8)
        >>> label_map[1:4, 1:4] = 1
        >>> found = find_regions(label_map, {"cell": 1})
        >>> found.xy.tolist(), found.area_px.tolist()
        ([[2.5, 2.5]], [9])
    """
    check_label_map(label_map)
    if not classes or len(set(classes.values())) < len(classes):
        raise ValueError(f"expected at least one class, each with its own id, got {dict(classes)}")
    if not min_area_px >= 0:
        raise ValueError(f"expected a min_area_px of at least 0, got {min_area_px}")
    height, width = label_map.shape
    scan = RegionScan(load_kernels("components"), np.array(list(classes.values()), np.int64), width)
    sums, kept, rows = np.zeros((1, 3)), np.zeros((0, width), np.int32), strip_rows(label_map)
    for top in track_progress(range(0, height, rows), "finding regions"):
        strip = np.asarray(label_map[top : top + rows])
        labels = scan.label(strip, kept)[-len(strip) :]
        if len(sums) < scan.count:
            sums = np.concatenate([sums, np.zeros((max(scan.count, len(sums) * 3 // 2) - len(sums), 3))])
        value = np.zeros((1, 1), np.uint8) if values is None else values(slice(top, top + len(strip)), strip)
        scan.kernels.add_moments(labels, np.broadcast_to(value, strip.shape), top, sums)
        kept = labels[-1:].copy()
    roots = scan.kernels.find_roots(scan.parent, scan.count)
    area = np.bincount(roots, scan.area[: scan.count], scan.count).astype(np.int64)
    row, column, total = (np.bincount(roots, part, scan.count) for part in sums[: scan.count].T)
    found = np.flatnonzero((area >= max(min_area_px, 1)) & (np.arange(scan.count) > 0))
    area = area[found]
    return RegionTable(
        tuple(classes),
        scan.class_of[found],
        np.stack([column[found] / area + 0.5, row[found] / area + 0.5], 1),
        area,
        np.full(len(area), np.nan) if values is None else total[found] / area,
    )
