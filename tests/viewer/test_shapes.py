import json

import numpy as np
import pytest
import shapely
from slides import REAL

from lsr_ext.viewer import View
from lsr_ext.viewer.annotations import read_annotations, read_blocks
from lsr_ext.viewer.shapes import MAX_SHOWN, Kind, Shapes, ViewBox

CASES = REAL.parents[1] / "cases" / "slides"
ALL = ViewBox(0, 0, 2000, 2000, 1)


def test_regions_and_dots_of_a_file(paths):
    regions, dots = read_annotations(paths["truth"])
    assert regions.describe()["kinds"][:2] == [
        {"name": "tumour", "colour": "#0ac8ff", "count": 1},
        {"name": "unclassified", "colour": "#ff7ad9", "count": 1},
    ]
    assert dots.describe()["count"] == 3
    (kind, rings), _ = regions.in_view(ALL)["shapes"]
    assert kind == 0 and len(rings) == 2  # the outline and its hole
    assert rings[0][:4] == [100, 100, 500, 100] or shapely.Polygon(np.reshape(rings[0], (-1, 2))).area == 160_000
    assert [rings[0] for _, rings in dots.in_view(ALL)["shapes"]] == [[640, 200], [1000, 300], [1100, 320]]


def test_only_shapes_in_view_are_sent(paths):
    dots = read_annotations(paths["truth"]).dots
    found = dots.in_view(ViewBox(900, 250, 150, 100, 1))
    assert found["total"] == 1 and found["shapes"][0][1] == [[1000, 300]]


def test_many_shapes_are_thinned_out_and_counted():
    rng = np.random.default_rng(0)
    dots = Shapes(shapely.points(rng.random((12_345, 2)) * 1000).tolist(), [0] * 12_345, [Kind("cell", "#000000")])
    found = dots.in_view(ALL)
    assert found["total"] == 12_345 and MAX_SHOWN / 2 < len(found["shapes"]) <= MAX_SHOWN


def test_a_region_smaller_than_a_pixel_of_the_screen_stays():
    tiny = Shapes([shapely.box(10, 10, 12, 12)], [0], [Kind("cell", "#000000")])
    ((_, rings),) = tiny.in_view(ViewBox(0, 0, 1e5, 1e5, 100))["shapes"]
    assert len(rings) == 1 and len(rings[0]) >= 2


def test_shapes_outside_the_slide_are_counted(paths):
    regions = read_annotations(paths["truth"]).regions
    assert regions.outside((1300, 960)) == 0
    assert regions.outside((800, 960)) == 1


def test_blocks_of_the_slide_alone(paths):
    blocks = read_blocks(paths["blocks"], paths["slide"])
    assert [kind["name"] for kind in blocks.describe()["kinds"]] == ["low", "high"]
    assert len(blocks) == 5 * 4
    with pytest.raises(ValueError, match=r"expected blocks of other\.tif"):
        read_blocks(paths["blocks"], paths["slide"].with_name("other.tif"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable GeoJSON"),
        ("3", "expected a GeoJSON FeatureCollection"),
        ([3], "feature 1: expected a feature with a geometry"),
        ([{"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}], "got LineString"),
        ([{"geometry": {"type": "Point", "coordinates": []}}], "feature 1: expected"),
        ([{"geometry": {"type": "Polygon", "coordinates": [[[0, 0]]]}}], "feature 1: expected a geometry"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_annotations(path)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize("name", ["08a_unclassified", "08b_names", "08d_bom"])
def test_files_of_users(name):
    regions, dots = read_annotations(CASES / f"{name}.geojson")
    assert len(regions) + len(dots) > 0


def test_coordinates_move_by_the_corner_they_count_from(paths):
    moved, plain = (read_annotations(paths["truth"], corner) for corner in ((7, 3), (0, 0)))
    for kind in ("regions", "dots"):
        pairs = zip(getattr(moved, kind).geometries, getattr(plain, kind).geometries, strict=True)
        assert all(np.subtract(new.bounds, old.bounds).tolist() == [7, 3, 7, 3] for new, old in pairs)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize(("use", "corner"), [("auto", (1500, 1000)), ("on", (1500, 1000)), ("off", (0, 0))])
def test_annotations_of_qupath_lie_on_the_scanned_part(use, corner):
    folder = CASES / "07_scn"
    view = View.open(folder / "a.scn", truth=folder / "a.geojson", qupath_bounds=use)
    [square] = view.shapes["regions"].geometries
    x, y = corner
    assert square.bounds == (x + 256, y + 256, x + 768, y + 768)
