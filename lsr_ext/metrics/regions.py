"""Regions against dots: each connected region of a class is a detection (section 3.1.3, Eq. 12 and 13)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from lsr_ext.metrics._kernels import load_kernels
from lsr_ext.metrics.counts import f1_score, ratio
from lsr_ext.metrics.dot_set import DotSet
from lsr_ext.progress import track_progress

PRECISIONS = ("region", "dot_weighted")
_STRIP_PIXELS, _CHUNK_PIXELS = 2**22, 2**25


@dataclass(frozen=True)
class CellScores:
    """Counts per class, int64 (L,), of one image, or summed over many images.

    Attributes:
        classes: their names.
        dots: dots of the class.
        dots_hit: those that lie in or near a region of their class.
        regions: regions of the class, each a detection.
        regions_hit: those with at least one dot.

    Example:
        >>> import numpy as np
        >>> scores = CellScores(("cell",), *(np.array([n]) for n in (4, 3, 2, 2)))
        >>> scores.recall.tolist(), scores.precision().tolist()
        ([0.75], [1.0])
    """

    classes: tuple[str, ...]
    dots: np.ndarray
    dots_hit: np.ndarray
    regions: np.ndarray
    regions_hit: np.ndarray

    @property
    def recall(self) -> np.ndarray:
        """dots_hit / dots, Eq. 12; NaN for a class without dots."""
        return ratio(self.dots_hit, self.dots)

    def precision(self, convention: str = "region") -> np.ndarray:
        """Eq. 13 in two readings; NaN for a class without regions.

        Args:
            convention: "region": regions_hit / regions, the share of detections that found something.
                "dot_weighted": dots_hit / (dots_hit + regions without a dot), where a region over three
                cells counts as three correct detections. Eq. 13 as printed, dots_hit / regions, can exceed 1.
        """
        if convention not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {convention!r}")
        if convention == "region":
            return ratio(self.regions_hit, self.regions)
        return ratio(self.dots_hit, self.dots_hit + self.regions - self.regions_hit)

    def f1(self, convention: str = "region") -> np.ndarray:
        """Harmonic mean of precision and recall: 0 if a class lacks dots or regions, NaN if it lacks both."""
        return f1_score(self.precision(convention), self.recall)

    def pooled(self) -> CellScores:
        """The counts of all classes together, as one class."""
        counts = (self.dots, self.dots_hit, self.regions, self.regions_hit)
        return CellScores(("all",), *(count.sum(-1, keepdims=True) for count in counts))

    def __add__(self, other: CellScores) -> CellScores:
        if self.classes != other.classes:
            raise ValueError(f"expected scores of the classes {self.classes}, got {other.classes}")
        return CellScores(
            self.classes,
            self.dots + other.dots,
            self.dots_hit + other.dots_hit,
            self.regions + other.regions,
            self.regions_hit + other.regions_hit,
        )


def score_cells(
    label_map: Any,
    dots: DotSet,
    classes: Mapping[str, int],
    *,
    min_area_px: int = 1,
    dilation_px: float = 0.0,
    pixel_size: float = 1.0,
) -> CellScores:
    """Count the detections of a map that dots confirm, and the dots that it detects.

    A region is a set of at least `min_area_px` 8-connected pixels of one class; smaller sets count as background.
    A dot belongs to the nearest region of its own class, if this region has a pixel whose centre is within
    `dilation_px` of the centre of the dot's pixel; of equally near regions, the first by row and column. With
    `dilation_px` 0 the dot's own pixel must be of its class. Dilation does not merge regions.

    The map is read in strips of whole rows, so it may be a memory map, a zarr array, or another array that can be
    sliced by rows and loads only the slice. Memory: a few strips, and some tens of bytes for each region.

    Args:
        label_map: integer (H, W) class ids; ids that `classes` does not name are background.
        dots: in the map, of classes that `classes` names.
        classes: name -> id in the map.
        min_area_px: the smallest region that counts, in pixels of the map.
        dilation_px: the largest distance from a region at which a dot hits it, in pixels of the map.
        pixel_size: the side of a pixel of the map in the dots' unit; 1 if dots are in pixels of the map.

    Returns:
        The counts per class, in the order of `classes`.

    Raises:
        TypeError: the map is not integer.
        ValueError: a map that is not (H, W), no classes or two with one id, a dot of another class or outside the
            map (the message names the row), or an option out of range.
        ModuleNotFoundError: numba is not installed; it is in the extra `lsr_ext[metrics]`.

    Example:
        >>> import numpy as np
        >>> from lsr_ext.metrics import DotSet
        >>> label_map = np.zeros((8, 8), np.uint8)
        >>> label_map[1:4, 1:4] = label_map[6:, 6:] = 1
        >>> scores = score_cells(label_map, DotSet([[2.5, 2.5]]), {"cell": 1})
        >>> scores.regions.tolist(), scores.regions_hit.tolist(), scores.recall.tolist()
        ([2], [1], [1.0])
    """
    found = match_regions(
        label_map, dots, classes, min_area_px=min_area_px, dilation_px=dilation_px, pixel_size=pixel_size
    )
    return found.scores


@dataclass(frozen=True)
class RegionMatches:
    """The result of `match_regions`: the counts, and for each dot whether a region contains it, bool (D,).

    Example:
        >>> import numpy as np
        >>> from lsr_ext.metrics import DotSet
        >>> found = match_regions(np.ones((4, 4), int), DotSet([[1, 1]]), {"cell": 1})
        >>> found.scores.dots_hit.tolist(), found.is_hit.tolist()
        ([1], [True])
    """

    scores: CellScores
    is_hit: np.ndarray


def match_regions(
    label_map: Any,
    dots: DotSet,
    classes: Mapping[str, int],
    *,
    min_area_px: int = 1,
    dilation_px: float = 0.0,
    pixel_size: float = 1.0,
) -> RegionMatches:
    """Do the same as `score_cells`, and also report which dots were hit.

    Example:
        >>> import numpy as np
        >>> from lsr_ext.metrics import DotSet
        >>> label_map = np.zeros((8, 8), np.uint8)
        >>> label_map[1:4, 1:4] = 1
        >>> match_regions(label_map, DotSet([[2.5, 2.5], [7.5, 7.5]]), {"cell": 1}).is_hit.tolist()
        [True, False]
    """
    check_label_map(label_map)
    if not classes or len(set(classes.values())) < len(classes):
        raise ValueError(f"expected at least one class, each with its own id, got {dict(classes)}")
    if not 0 <= dilation_px < 2**15 or not min_area_px >= 1 or not 0 < pixel_size < np.inf:
        raise ValueError(
            "expected a dilation_px of at least 0, a min_area_px of at least 1 and a pixel_size above 0, "
            f"got {dilation_px}, {min_area_px} and {pixel_size}"
        )
    codes, pixels = _locate(dots, tuple(classes), label_map.shape, pixel_size)
    ids = np.array(list(classes.values()), dtype=np.int64)
    scan = RegionScan(load_kernels("components"), ids, label_map.shape[1], float(dilation_px))
    near = scan.run(label_map, pixels, codes)
    roots = scan.kernels.find_roots(scan.parent, scan.count)
    area = np.bincount(roots, scan.area[: scan.count], minlength=scan.count)
    is_region = area >= min_area_px
    is_region[0] = False
    region_of = _nearest_regions(near, roots, is_region, len(dots))
    hit = region_of > 0
    count = len(classes)
    class_of = scan.class_of[: scan.count]
    scores = CellScores(
        tuple(classes),
        np.bincount(codes, minlength=count),
        np.bincount(codes[hit], minlength=count),
        np.bincount(class_of[is_region], minlength=count),
        np.bincount(class_of[np.unique(region_of[hit])], minlength=count),
    )
    if len(dots) and not scores.regions.any():
        _warn_of_other_ids(label_map, classes)
    return RegionMatches(scores, hit)


def _warn_of_other_ids(label_map: Any, classes: Mapping[str, int]) -> None:
    """Say so where a map holds ids, and none of them is a class's: a mask of 0 and 255, say."""
    rows = strip_rows(label_map)
    strips = (np.unique(np.asarray(label_map[top : top + rows])) for top in range(0, label_map.shape[0], rows))
    found = np.unique(np.concatenate([*strips, np.empty(0, int)])).tolist()
    if any(class_id in found for class_id in classes.values()) or not any(found):
        return
    named = ", ".join(f"{name}={class_id}" for name, class_id in classes.items())
    warnings.warn(
        f"the map holds the ids {found[:20]}, none of the classes {named}: no region counts", stacklevel=4
    )


def check_label_map(label_map: Any, name: str = "a map") -> None:
    """Check shape and type of an array, without reading it.

    Raises:
        TypeError, ValueError: it is not integer, or not (H, W).
    """
    if len(label_map.shape) != 2:
        raise ValueError(f"expected {name} (H, W), got shape {tuple(label_map.shape)}")
    if label_map.dtype.kind not in "iub":
        raise TypeError(f"expected integer class ids in {name}, got {label_map.dtype}")


def strip_rows(label_map: Any) -> int:
    """Return how many rows to read at once: some million pixels, in whole chunks if the array has chunks."""
    width = max(1, label_map.shape[1])
    rows = max(1, _STRIP_PIXELS // width)
    chunk = getattr(label_map, "chunks", None)
    if not chunk or chunk[0] * width > _CHUNK_PIXELS:
        return rows
    return max(1, rows // chunk[0]) * chunk[0]


def _locate(
    dots: DotSet, names: tuple[str, ...], shape: tuple[int, int], pixel_size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class index (D,) and the pixel (D, 2), row and column, of each dot."""
    dots.check_classes(names)
    codes = np.zeros(len(dots), np.int64)
    for code, name in enumerate(names):
        codes[dots.classes == name] = code
    places = dots.xy[:, ::-1] / pixel_size
    # A dot on the lower or right edge lies in the last pixel.
    pixels = np.where(places == shape, np.array(shape) - 1, np.floor(places))
    outside = ((pixels < 0) | (pixels >= shape)).any(1)
    if outside.any():
        index = int(outside.argmax())
        raise ValueError(
            f"expected dots within the map, {shape[1]} x {shape[0]} px of {pixel_size:g}, "
            f"got {tuple(dots.xy[index].tolist())} in {dots.place(index)}"
        )
    return codes, pixels.astype(np.int64)


def _nearest_regions(near: np.ndarray, roots: np.ndarray, is_region: np.ndarray, count: int) -> np.ndarray:
    """Return the first label of the region that each dot belongs to, or 0."""
    dot, region = near[:, 0].astype(np.int64), roots[near[:, 1].astype(np.int64)]
    kept = is_region[region]
    dot, region, distance2 = dot[kept], region[kept], near[kept, 2]
    order = np.lexsort((region, distance2, dot))
    region_of = np.zeros(count, np.int64)
    first = np.unique(dot[order], return_index=True)
    region_of[first[0]] = region[order[first[1]]]
    return region_of


class RegionScan:
    """One pass over a map. Keeps the labels of the last rows, and the regions, areas and classes of all labels."""

    def __init__(self, kernels: ModuleType, ids: np.ndarray, width: int, dilation_px: float = 0.0) -> None:
        self.kernels, self.ids, self.dilation_px = kernels, ids, dilation_px
        self.count = 1  # label 0 is the background
        self.parent = np.zeros(1, np.int32)
        self.area = np.zeros(1, np.int64)
        self.class_of = np.zeros(1, np.int32)
        self.codes = np.full((2, width), -1, np.int32)

    def run(self, label_map: Any, pixels: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Label the whole map; return the result of `regions_near` for the dots, (K, 3)."""
        height, width = label_map.shape
        reach, rows = int(self.dilation_px), strip_rows(label_map)
        order = np.argsort(pixels[:, 0], kind="stable")
        # The rows within reach of dots whose lower surroundings are still unread, and the row above the strip.
        kept = np.zeros((0, width), np.int32)
        found, done = [np.empty((0, 3))], 0
        for top in track_progress(range(0, height, rows), "reading the map"):
            strip = np.asarray(label_map[top : top + rows])
            kept = self.label(strip, kept)
            bottom = top + len(strip)
            ready = bottom - reach if bottom < height else height
            stop = np.searchsorted(pixels[order, 0], ready)
            members = order[done:stop]
            near = self.kernels.regions_near(
                kept,
                bottom - len(kept),
                pixels[members],
                codes[members],
                self.dilation_px,
                self.parent,
                self.class_of,
            )
            near[:, 0] = members[near[:, 0].astype(np.int64)]
            found.append(near)
            done = stop
            kept = kept[-max(1, 2 * reach) :]
        return np.concatenate(found)

    def label(self, strip: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Return the labels of the kept rows and of the strip below them."""
        # Always a copy: Numba would compile the kernels again for a read-only array.
        strip = np.array(strip, dtype=np.uint8 if strip.dtype in (np.uint8, np.bool_) else np.int64, order="C")
        self._make_room(self.count + strip.size)
        labels = np.zeros((max(1, len(kept)) + len(strip), strip.shape[1]), np.int32)
        labels[: len(kept)] = kept
        self.count = self.kernels.label_rows(
            strip,
            self.ids,
            labels[-len(strip) - 1 :],
            self.codes,
            self.parent,
            self.area,
            self.class_of,
            self.count,
        )
        return labels if len(kept) else labels[1:]

    def _make_room(self, size: int) -> None:
        if size >= 2**31:
            raise ValueError("expected fewer than 2^31 regions and pixels of a strip")
        for name in ("parent", "area", "class_of"):
            array = getattr(self, name)
            if len(array) < size:
                larger = np.empty(max(size, len(array) * 3 // 2), array.dtype)
                larger[: len(array)] = array
                setattr(self, name, larger)
