"""Overlays: which lines and crosses are drawn, and where."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from lsr_ext.metrics import DotSet, match_regions
from lsr_ext.report import overlays
from lsr_ext.report.overlays import (
    BAND,
    DETECTED,
    HIT,
    MISSED,
    PREDICTED,
    TRUE,
    draw_boundaries,
    draw_cells,
    draw_dots,
    draw_map,
)


def crosses(ax, colour):
    found = [line.get_xydata() for line in ax.lines if line.get_color() == colour]
    return np.concatenate(found).tolist() if found else []


def contour_box(ax, colour):
    """Left, top, right and bottom of the contours of a colour, or None."""
    paths = [
        path.vertices
        for collection in ax.collections
        if len(collection.get_edgecolor()) and np.allclose(collection.get_edgecolor()[0], to_rgba(colour))
        for path in collection.get_paths()
        if len(path.vertices)
    ]
    if not paths:
        return None
    points = np.concatenate(paths)
    return [*points.min(0), *points.max(0)]


def test_cells():
    label_map = np.zeros((20, 30), np.uint8)
    label_map[5:10, 10:20] = 1
    label_map[0:3, 0:4] = 2
    label_map[15, 25] = 1  # too small to be a detection
    dots = DotSet([[12.5, 7.5], [25.5, 15.5], [1, 1]], ["a", "a", "b"])
    classes = {"a": 1, "b": 2}
    found = match_regions(label_map, dots, classes, min_area_px=2)
    image = np.zeros((20, 30, 3), np.uint8)
    figure = draw_cells(image, label_map, classes, dots, found.is_hit, min_area_px=2)
    a, b = figure.axes
    assert (a.get_title(), b.get_title()) == ("a: 1 of 2 dots hit", "b: 1 of 1 dots hit")
    assert crosses(a, HIT) == [[12.5, 7.5]]
    assert crosses(a, MISSED) == [[25.5, 15.5]]
    # The outline runs along the pixels' outer edges, around the region only.
    assert contour_box(a, DETECTED) == [10, 5, 20, 10]
    assert contour_box(b, DETECTED) == [0, 0, 4, 3]


def test_dots_are_drawn_in_pixels():
    image = np.zeros((20, 20, 3), np.uint8)
    detections, truth = DotSet([[1, 1], [4, 4]]), DotSet([[1.5, 1], [9, 9]])
    figure = draw_dots(image, detections, truth, np.array([True, False]), ["cell"], radius_px=4, pixel_size=0.5)
    (ax,) = figure.axes
    assert crosses(ax, HIT) == [[3, 2]]
    assert crosses(ax, MISSED) == [[18, 18]]
    assert ax.collections[0].get_offsets().tolist() == [[2, 2], [8, 8]]


def test_boundaries_and_band():
    truth, pred = np.zeros((2, 20, 30), np.uint8)
    truth[:, 10:] = 1
    pred[:, 14:] = 1
    figure = draw_boundaries(np.zeros((20, 30, 3), np.uint8), pred, truth, {"tumour": 1}, 3)
    (ax,) = figure.axes
    # Straight lines from top to bottom: the border of the image is no boundary.
    assert contour_box(ax, TRUE) == [10, 0.5, 10, 19.5]
    assert contour_box(ax, PREDICTED) == [14, 0.5, 14, 19.5]
    shade = ax.images[1].get_array()
    assert np.flatnonzero(shade[0, :, 3]).tolist() == list(range(6, 14))
    np.testing.assert_allclose(shade[0, 6, :3], to_rgba(BAND)[:3])


def test_large_images_are_thinned_out(monkeypatch):
    monkeypatch.setattr(overlays, "_MAX_SIDE_PX", 10)
    label_map = np.zeros((20, 30), np.uint8)
    label_map[6:12, 9:21] = 1
    figure = draw_cells(np.zeros((20, 30, 3), np.uint8), label_map, {"cell": 1}, DotSet([]), np.zeros(0, bool))
    (ax,) = figure.axes
    assert ax.images[0].get_array().shape[:2] == (7, 10)
    assert contour_box(ax, DETECTED) == [9, 6, 21, 12]


def test_an_image_of_another_size():
    with pytest.raises(ValueError, match="expected an image of the map's size, 20 x 30 px, got 20 x 20"):
        draw_cells(
            np.zeros((20, 20, 3), np.uint8), np.zeros((20, 30), int), {"cell": 1}, DotSet([]), np.zeros(0, bool)
        )


def test_map_alone():
    ids = np.zeros((30, 40), np.uint8)
    ids[5:10, 20:40] = 2
    figure = draw_map(np.full((30, 40, 3), 200, np.uint8), ids, {"a": 1, "b": 2})
    assert [ax.get_title() for ax in figure.axes] == ["a: 0.00 % of the pixels", "b: 8.33 % of the pixels"]
    assert contour_box(figure.axes[0], DETECTED) is None
    # Half a pixel around it, and closed at the border of the image.
    assert np.allclose(contour_box(figure.axes[1], DETECTED), [20, 5, 40, 10], atol=0.5)
    with pytest.raises(ValueError, match="of the map's size"):
        draw_map(np.zeros((40, 30, 3), np.uint8), ids, {"a": 1})
