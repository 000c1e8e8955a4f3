"""Numba kernels: connected regions of a label map that is read strip by strip, and the regions near dots."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _root(parent: np.ndarray, label: int) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@njit(cache=True, nogil=True)
def _join(parent: np.ndarray, one: int, other: int) -> int:
    """Merge two regions; the earlier label stays."""
    one, other = _root(parent, one), _root(parent, other)
    first = min(one, other)
    parent[max(one, other)] = first
    return first


@njit(cache=True, nogil=True)
def label_rows(
    values: np.ndarray,
    ids: np.ndarray,
    labels: np.ndarray,
    codes: np.ndarray,
    parent: np.ndarray,
    area: np.ndarray,
    class_of: np.ndarray,
    count: int,
) -> int:
    """Label the 8-connected regions of equal value in a strip, continuing from the row above it.

    Args:
        values: (H, W) ids of classes.
        ids: the values that are classes; all others are background.
        labels: int32 (1 + H, W): the labels of the row above, and space for those of the strip. 0: background.
        codes: int32 (2, W): first the row above, as indices in `ids` or -1, and afterwards the strip's last row.
        parent, area, class_of: for each label: a label of the same region, or itself; its number of pixels; its
            index in `ids`.
        count: the number of labels so far, with the background; there must be space for one more label per pixel.

    Returns:
        The labels now in use.
    """
    height, width = values.shape
    for row in range(height):
        above, here = codes[row % 2], codes[(row + 1) % 2]
        labels_above, labels_here = labels[row], labels[row + 1]
        code, left = -1, 0
        for column in range(width):
            value = values[row, column]
            if column == 0 or value != values[row, column - 1]:
                code, left = -1, 0
                for k in range(len(ids)):
                    if ids[k] == value:
                        code = k
            here[column] = code
            if code < 0:
                labels_here[column] = 0
                continue
            above_left = column > 0 and above[column - 1] == code
            # If the pixel straight above is of the same class, it already connects all other neighbours.
            if above[column] == code:
                label = labels_above[column]
            elif column + 1 < width and above[column + 1] == code:
                label = labels_above[column + 1]
                if above_left:
                    label = _join(parent, label, labels_above[column - 1])
                elif left:
                    label = _join(parent, label, left)
            elif above_left:
                label = labels_above[column - 1]
            elif left:
                label = left
            else:
                label = count
                parent[label], area[label], class_of[label] = label, 0, code
                count += 1
            labels_here[column] = left = label
            area[label] += 1
    if height % 2:
        codes[0] = codes[1]
    return count


@njit(cache=True, nogil=True)
def add_moments(labels: np.ndarray, values: np.ndarray, first_row: int, sums: np.ndarray) -> None:
    """Add up row, column and value of the pixels of each label.

    Args:
        labels: (H, W), consecutive rows; 0: background.
        values: (H, W).
        first_row: the index of the first of these rows in the map.
        sums: float64 (labels, 3), added to.
    """
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label:
                sums[label, 0] += first_row + row
                sums[label, 1] += column
                sums[label, 2] += values[row, column]


@njit(cache=True, nogil=True)
def find_roots(parent: np.ndarray, count: int) -> np.ndarray:
    """Return the first (lowest) label of each label's region."""
    roots = np.empty(count, np.int32)
    for label in range(count):
        roots[label] = _root(parent, label)
    return roots


@njit(cache=True, nogil=True)
def regions_near(
    labels: np.ndarray,
    first_row: int,
    pixels: np.ndarray,
    codes: np.ndarray,
    dilation_px: float,
    parent: np.ndarray,
    class_of: np.ndarray,
) -> np.ndarray:
    """List the labels of its class within reach of each dot: float64 (K, 3): dot, label, squared distance.

    Args:
        labels: (H, W), consecutive rows that hold everything within reach.
        first_row: the index of the first of these rows in the map.
        pixels: (D, 2) row and column of dots in the map.
        codes: (D,) their classes, as indices.
        dilation_px: how far a dot reaches, from its pixel's centre to that of a region's pixel.
    """
    reach = int(dilation_px)
    found = np.empty((max(16, len(pixels)), 3))
    count = 0
    for dot in range(len(pixels)):
        start = count
        row, column = pixels[dot, 0] - first_row, pixels[dot, 1]
        for i in range(max(0, row - reach), min(labels.shape[0], row + reach + 1)):
            for j in range(max(0, column - reach), min(labels.shape[1], column + reach + 1)):
                label = labels[i, j]
                distance2 = (i - row) ** 2 + (j - column) ** 2
                if label == 0 or class_of[label] != codes[dot] or distance2 > dilation_px * dilation_px:
                    continue
                label = _root(parent, label)
                k = start
                while k < count and found[k, 1] != label:
                    k += 1
                if k < count:
                    found[k, 2] = min(found[k, 2], distance2)
                    continue
                if count == len(found):
                    found = np.concatenate((found, np.empty_like(found)))
                found[count, 0], found[count, 1], found[count, 2] = dot, label, distance2
                count += 1
    return found[:count].copy()
