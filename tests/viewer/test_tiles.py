import io

import numpy as np
import pytest
from PIL import Image
from slide_views import CLASSES, COLOURS, label_map, write_view

from lsr_ext.inference.prediction import find_prediction
from lsr_ext.viewer import tiles
from lsr_ext.viewer.tile_grid import TileGrid
from lsr_ext.viewer.tiles import contour_tile, label_tile, probability_tile, slide_tile
from lsr_ext.wsi import open_slide

SIZE = 1300, 960
GRID = TileGrid(*SIZE)
RGB = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS])


def rgba(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def whole(draw, level):
    """A whole level, put together from its tiles."""
    downsample = 2 ** (GRID.last_level - level)
    columns, rows = (range(-(-side // downsample // 512)) for side in SIZE)
    return np.vstack([np.hstack([draw(GRID.area(level, column, row)) for column in columns]) for row in rows])


def expected_labels(level):
    """The map at the middle of each pixel of a level, by plain indexing."""
    downsample = 2 ** (GRID.last_level - level)
    ids = np.pad(label_map(480, 650), ((0, 600), (0, 600)), constant_values=255)
    rows, columns = (
        (((np.arange(-(-side // downsample)) + 0.5) * downsample) / 2).astype(int) for side in SIZE[::-1]
    )
    return ids[np.ix_(rows, columns)]


@pytest.mark.parametrize("level", [11, 10, 9])
def test_the_slides_tiles_are_its_pixels(view, level):
    downsample = 2 ** (GRID.last_level - level)
    found = whole(lambda area: np.asarray(Image.open(io.BytesIO(slide_tile(view.slide, area)))), level)
    height, width = found.shape[:2]
    truth = view.slide.read_resized(0, 0, width * downsample, height * downsample, (height, width))
    assert np.abs(found.astype(int) - truth).mean() < 6  # what JPEG changes


@pytest.mark.parametrize("level", [11, 10, 8])
def test_label_tiles_are_the_map_in_its_colours(view, level):
    found = whole(lambda area: rgba(label_tile(view.prediction, area, {1, 2})), level)
    ids = expected_labels(level)
    shown = (ids == 1) | (ids == 2)
    np.testing.assert_array_equal(found[..., 3], np.where(shown, 255, 0))
    np.testing.assert_array_equal(found[shown][:, :3], RGB[ids[shown]])


def test_contours_lie_inside_the_edges_and_do_not_end_at_tiles(view):
    level = 11
    found = whole(lambda area: rgba(contour_tile(view.prediction, area, {0, 1, 2})), level)
    ids = expected_labels(level)
    wide = np.pad(ids, 2, mode="edge")
    is_edge = np.zeros(ids.shape, bool)
    for shift in (-2, -1, 1, 2):
        for axis in (0, 1):
            is_edge |= np.roll(wide, shift, axis)[2:-2, 2:-2] != ids
    inner = np.s_[3:-3, 3:-3]  # the map's own rim is an edge, too
    np.testing.assert_array_equal((found[..., 3] > 0)[inner], (is_edge & (ids != 255))[inner])
    tumour = found[(found[..., 3] > 0) & (ids == 1)]
    assert len(tumour) and (tumour[:, :3] == RGB[1]).all()


def test_a_probability_is_its_opacity(view):
    found = whole(lambda area: rgba(probability_tile(view.prediction, area, 1)), 11)
    ids = expected_labels(11)
    np.testing.assert_array_equal(found[..., 3], np.where(ids == 1, 204, np.where(ids == 255, 0, 25)))
    assert (found[..., :3] == RGB[1]).all()


def test_the_class_at_a_position(view):
    assert view.prediction.at(400, 432) == {
        "class": "tumour",
        "probabilities": {"background": 0.098, "tumour": 0.8, "stroma": 0.098},
    }
    assert view.prediction.at(1290, 100) is None  # not predicted
    assert view.prediction.at(5000, 100) is None


def test_a_tile_that_needs_too_much_is_refused(view, monkeypatch):
    monkeypatch.setattr(tiles, "MAX_SOURCE_PX", 512 * 512)
    first = tiles.coarsest_level(view.slide, GRID)
    assert first == 10  # the slide's second level is half as large
    slide_tile(view.slide, GRID.area(first, 0, 0))
    with pytest.raises(tiles.OversizeTileError, match="no level that is coarse enough"):
        slide_tile(view.slide, GRID.area(first - 1, 0, 0))


def test_a_prediction_of_another_slide_is_refused(view, tmp_path):
    other = write_view(tmp_path, 400, 600)
    with pytest.raises(ValueError, match="a prediction of slide.tif, 600 x 400 px, not of slide.tif, 1300 x 960"):
        find_prediction(other["prediction"], view.slide)
    with pytest.raises(FileNotFoundError, match="expected a prediction of a slide, NAME.zarr"):
        find_prediction(tmp_path / "none", view.slide)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="expected a prediction of a slide"):
        find_prediction(tmp_path / "empty.zarr", view.slide)


def test_a_prediction_is_found_in_its_folder(paths):
    found = find_prediction(paths["prediction"].parent, open_slide(paths["slide"]))
    assert found.classes == CLASSES and found.path == paths["prediction"]
