"""Draw scores on the image: detections, dots and boundaries, as in the paper's Figures 3 and 5 to 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import ndimage

from lsr_ext.metrics import DotSet, boundary_band
from lsr_ext.report.figures import make_panels

# The paper's colours: yellow detections, red and green dots; red true and blue predicted boundaries, a green band.
DETECTED, HIT, MISSED = "#ffe119", "#e6194b", "#2ee64b"
TRUE, PREDICTED, BAND = "#e6194b", "#2f6bff", "#2ee64b"
_MAX_SIDE_PX = 2000


def draw_cells(
    image: np.ndarray,
    label_map: Any,
    classes: Mapping[str, int],
    dots: DotSet,
    is_hit: np.ndarray,
    *,
    min_area_px: int = 1,
    pixel_size: float = 1.0,
) -> Figure:
    """Draw a panel for each class: contours of its regions, and its dots that were hit and missed.

    Args:
        image: uint8 (H, W, 3); images larger than 2,000 px a side are subsampled.
        label_map: integer (H, W).
        classes: name -> id in the map.
        dots, min_area_px, pixel_size: as for `match_regions`.
        is_hit: bool (D,), from `match_regions`.

    Raises:
        ValueError: image and map differ in size.
    """
    figure, axes, step = _on_image(image, label_map.shape, len(classes))
    ids = np.asarray(label_map[::step, ::step])
    for ax, (name, class_id) in zip(axes, classes.items(), strict=True):
        # A rim of background closes the contours of regions that touch the border.
        shown = np.pad(_large_enough(ids == class_id, min_area_px / step**2), 1)
        _draw_contour(ax, shown, step, -0.5 * step, 1.1, DETECTED)
        member = dots.classes == name
        _draw_crosses(ax, dots.xy[member] / pixel_size, is_hit[member])
        ax.set_title(f"{name}: {is_hit[member].sum()} of {member.sum()} dots hit", fontsize=10)
    figure.legend(
        handles=[_line(DETECTED, "detected region"), _cross(HIT, "dot hit"), _cross(MISSED, "dot missed")],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


def draw_map(image: np.ndarray, label_map: Any, classes: Mapping[str, int]) -> Figure:
    """Draw a panel for each class: contours of its regions, and the share of the pixels that they cover.

    Args:
        image: uint8 (H, W, 3); images larger than 2,000 px a side are subsampled.
        label_map: integer (H, W).
        classes: name -> id in the map.

    Raises:
        ValueError: image and map differ in size.
    """
    figure, axes, step = _on_image(image, label_map.shape, len(classes))
    ids = np.asarray(label_map[::step, ::step])
    for ax, (name, class_id) in zip(axes, classes.items(), strict=True):
        # A rim of background closes the contours of regions that touch the border.
        _draw_contour(ax, np.pad(ids == class_id, 1), step, -0.5 * step, 1.1, DETECTED)
        ax.set_title(f"{name}: {100 * np.mean(ids == class_id):.2f} % of the pixels", fontsize=10)
    figure.legend(handles=[_line(DETECTED, "region")], loc="outside lower center", frameon=False)
    return figure


def draw_dots(
    image: np.ndarray,
    detections: DotSet,
    truth: DotSet,
    is_hit: np.ndarray,
    classes: Sequence[str],
    radius_px: float,
    pixel_size: float = 1.0,
) -> Figure:
    """Draw a panel for each class: a circle of the matching radius around each detection, and the true dots.

    Args:
        image: uint8 (H, W, 3).
        detections, truth: dots, in a unit in which the side of a pixel is `pixel_size`.
        is_hit: bool (D,), for the true dots.
        classes: the classes to draw.
        radius_px: radius of the circles, in pixels.
    """
    figure, axes, _ = _on_image(image, image.shape[:2], len(classes))
    for ax, name in zip(axes, classes, strict=True):
        circles = EllipseCollection(
            *(2 * radius_px, 2 * radius_px, 0),
            units="xy",
            offsets=detections.of_class(name).xy / pixel_size,
            offset_transform=ax.transData,
            facecolors="none",
            edgecolors=DETECTED,
            linewidths=0.7,
        )
        ax.add_collection(circles)
        member = truth.classes == name
        _draw_crosses(ax, truth.xy[member] / pixel_size, is_hit[member])
        ax.set_title(f"{name}: {is_hit[member].sum()} of {member.sum()} dots hit", fontsize=10)
    figure.legend(
        handles=[_line(DETECTED, "detection"), _cross(HIT, "dot hit"), _cross(MISSED, "dot missed")],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


def draw_boundaries(
    image: np.ndarray, pred: Any, truth: Any, classes: Mapping[str, int], distance_px: float
) -> Figure:
    """Draw a panel for each class: its true and its predicted boundary, and the band of the masked scores.

    Args:
        image: uint8 (H, W, 3).
        pred, truth: integer (H, W).
        classes: name -> id of the classes to draw; for two classes, one is enough.
        distance_px: half-width of the band, in pixels.

    Raises:
        ValueError: the sizes differ.
    """
    figure, axes, step = _on_image(image, truth.shape, len(classes))
    predicted, true = (np.asarray(ids[::step, ::step]) for ids in (pred, truth))
    shade = np.zeros((*true.shape, 4))
    shade[boundary_band(true, distance_px / step)] = to_rgba(BAND, 0.18)
    for ax, (name, class_id) in zip(axes, classes.items(), strict=True):
        ax.imshow(shade, extent=_extent(true.shape, step), interpolation="nearest")
        _draw_contour(ax, true == class_id, step, 0.5 * step, 1.6, TRUE)
        _draw_contour(ax, predicted == class_id, step, 0.5 * step, 1.6, PREDICTED)
        ax.set_title(name, fontsize=10)
    handles = [_line(TRUE, "true boundary"), _line(PREDICTED, "predicted boundary")]
    handles.append(Patch(color=BAND, alpha=0.3, label=f"within {distance_px:g} px of the true boundary"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _on_image(image: np.ndarray, shape: tuple[int, ...], count: int) -> tuple[Figure, list[Axes], int]:
    """Make panels of the image, in its pixels from the top left corner; also return the subsampling step."""
    if image.shape[:2] != tuple(shape):
        raise ValueError(
            f"expected an image of the map's size, {shape[0]} x {shape[1]} px, "
            f"got {image.shape[0]} x {image.shape[1]}"
        )
    step = -(-max(shape) // _MAX_SIDE_PX)
    figure, axes = make_panels(count, min(count, 3), shape[0] / shape[1], 0.4)
    for ax in axes:
        ax.set_axis_off()
        shown = image[::step, ::step]
        ax.imshow(shown, extent=_extent(shown.shape, step), interpolation="nearest")
        ax.set(xlim=(0, shape[1]), ylim=(shape[0], 0))
    return figure, axes, step


def _extent(shape: tuple[int, ...], step: int) -> tuple[float, float, float, float]:
    return (0, shape[1] * step, shape[0] * step, 0)


def _large_enough(mask: np.ndarray, min_area: float) -> np.ndarray:
    labelled, _ = ndimage.label(mask, np.ones((3, 3)))
    return mask & (np.bincount(labelled.ravel()) >= min_area)[labelled]


def _draw_contour(ax: Axes, mask: np.ndarray, step: int, first: float, width: float, colour: str) -> None:
    """Draw the outline of a mask whose pixels are `step` apart, with the first at `first`."""
    if mask.all() or not mask.any():
        return
    x, y = (first + step * np.arange(length) for length in mask.shape[::-1])
    # A dark edge under the line keeps it readable on light and dark tissue.
    ax.contour(x, y, mask, levels=[0.5], colors="black", linewidths=width + 0.8, alpha=0.5)
    ax.contour(x, y, mask, levels=[0.5], colors=colour, linewidths=width)


def _draw_crosses(ax: Axes, xy: np.ndarray, is_hit: np.ndarray) -> None:
    for colour, shown in ((HIT, xy[is_hit]), (MISSED, xy[~is_hit])):
        for edge, width in (("black", 2.4), (colour, 1.3)):
            ax.plot(*shown.T, "+", color=edge, markersize=6, markeredgewidth=width, linestyle="none")


def _line(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, linewidth=2.5, label=label)


def _cross(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="+", markersize=9, markeredgewidth=2, linestyle="none", label=label)
