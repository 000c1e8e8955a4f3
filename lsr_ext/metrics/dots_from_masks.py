"""Derive dots at the centres of cells from masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import center_of_mass, label

from lsr_ext.metrics.dot_set import DotSet


def dots_from_masks(
    mask: np.ndarray, classes: Mapping[str, int] | Sequence[str], *, min_area_px: int = 1
) -> DotSet:
    """Return the centroid of each connected region of each class.

    Regions are 4-connected: cells that touch only at a corner are two regions. Cells of one class that share a
    side are one region; use `dots_from_instances` if cells have ids.

    Args:
        mask: integer (H, W) class ids.
        classes: name -> id of the classes whose regions count; or the names of the ids 0, 1, ..., of which 0 is
            the background.
        min_area_px: smaller regions are ignored, in pixels.

    Returns:
        Dots in pixels from the top left corner of the image (the centre of the first pixel is (0.5, 0.5)), by
        class and then by the row and column where a region begins.

    Raises:
        TypeError: the mask is not integer.
        ValueError: a mask that is not (H, W), no classes, two classes with one id, or an area below 1.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((6, 6), int)
        >>> mask[1:4, 1:4] = 1
        >>> dots_from_masks(mask, {"nucleus": 1}).xy.tolist()
        [[2.5, 2.5]]
    """
    _check_map(mask, "mask")
    if min_area_px < 1:
        raise ValueError(f"expected a min_area_px of at least 1, got {min_area_px}")
    places, names = [np.empty((0, 2))], []
    for name, class_id in _class_ids(classes).items():
        regions, count = label(mask == class_id)
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        kept = np.flatnonzero(areas[1:] >= min_area_px) + 1
        if len(kept):
            centres = center_of_mass(np.broadcast_to(1.0, mask.shape), regions, kept)
            places.append(np.array(centres)[:, ::-1] + 0.5)
        names += [name] * len(kept)
    return DotSet(np.concatenate(places), names)


def dots_from_instances(
    instances: np.ndarray, class_map: np.ndarray, classes: Mapping[str, int] | Sequence[str]
) -> DotSet:
    """Return the centroid of each instance, with the class of most of its pixels (if equal, the lowest id).

    Args:
        instances: integer (H, W), 0 = none, else the id of a cell or nucleus, which may have several pieces.
        class_map: integer (H, W) class ids, of the cells or of the tissue around them.
        classes: as in `dots_from_masks`; instances of other classes are ignored.

    Returns:
        Dots by instance id, in pixels from the top left corner of the image. `rows` are the instance ids.

    Raises:
        TypeError: the maps are not integer.
        ValueError: maps that are not (H, W) of one size, negative instance ids, no classes, or two with one id.

    Example:
        >>> import numpy as np
        >>> instances = np.zeros((6, 6), int)
        >>> instances[1:4, 1:4] = 7
        >>> dots = dots_from_instances(instances, (instances > 0).astype(int), {"nucleus": 1})
        >>> dots.xy.tolist(), dots.classes.tolist()
        ([[2.5, 2.5]], ['nucleus'])
    """
    _check_map(instances, "instances")
    _check_map(class_map, "class_map")
    if instances.shape != class_map.shape:
        raise ValueError(f"expected maps of one size, got {instances.shape} and {class_map.shape}")
    if instances.min(initial=0) < 0:
        raise ValueError(f"expected instance ids of at least 0, got {instances.min()}")
    name_of = {class_id: name for name, class_id in _class_ids(classes).items()}
    row, column = np.nonzero(instances)
    ids, dense = np.unique(instances[row, column], return_inverse=True)
    values, dense_class = np.unique(class_map[row, column], return_inverse=True)
    counts = np.zeros((len(ids), len(values)), np.int64)
    np.add.at(counts, (dense, dense_class), 1)
    class_ids = values[counts.argmax(axis=1)] if len(ids) else values
    areas = counts.sum(axis=1)
    xy = np.column_stack([np.bincount(dense, place) / areas + 0.5 for place in (column, row)])
    kept = np.isin(class_ids, list(name_of))
    names = [name_of[class_id] for class_id in class_ids[kept].tolist()]
    return DotSet(xy[kept], names, rows=ids[kept])


def _check_map(array: np.ndarray, name: str) -> None:
    if array.ndim != 2:
        raise ValueError(f"expected {name} of shape (H, W), got {array.shape}")
    if array.dtype.kind not in "iub":
        raise TypeError(f"expected integer ids in {name}, got {array.dtype}")


def _class_ids(classes: Mapping[str, int] | Sequence[str]) -> dict[str, int]:
    if not isinstance(classes, Mapping):
        classes = {name: class_id for class_id, name in enumerate(classes) if class_id}
    if not classes or len(set(classes.values())) < len(classes):
        raise ValueError(f"expected classes of distinct ids, got {dict(classes)}")
    return dict(classes)
