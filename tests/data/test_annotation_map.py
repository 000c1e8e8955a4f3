import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize

from lsr_ext.data.annotation_map import Annotation, AnnotationMap, read_areas

CASES = Path(__file__).parents[2].parent / "shared" / "cases" / "slides"
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}


def write(path, *features):
    content = [{"type": "Feature", "geometry": geometry, "properties": about} for geometry, about in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": content}))
    return path


def test_classes_are_named_in_all_of_qupaths_ways(tmp_path):
    classes = [{"name": "A"}, {"names": ["A", "B"]}, "C", None]
    path = write(tmp_path / "a.geojson", *((SQUARE, {"classification": one}) for one in classes))
    found = read_areas(path, (10, 20))
    assert [area.kind for area in found] == ["A", "A: B", "C", None]
    assert found[0].shape.bounds == (10, 20, 14, 24)
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_areas(tmp_path / "a.geojson.gz", (10, 20)) == found


def test_points_are_passed_over_and_crossing_outlines_mended(tmp_path):
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]}
    path = write(tmp_path / "a.json", ({"type": "Point", "coordinates": [1, 2]}, {}), (bow_tie, {}))
    [area] = read_areas(path)
    assert area.shape.is_valid and area.shape.area == 8


def test_areas_of_nested_collections_are_found(tmp_path):
    inner = {"type": "GeometryCollection", "geometries": [SQUARE, {"type": "Point", "coordinates": [9, 9]}]}
    path = write(tmp_path / "a.json", ({"type": "GeometryCollection", "geometries": [inner]}, {}))
    assert [area.shape.area for area in read_areas(path)] == [16]
    empty = {"type": "Polygon", "coordinates": []}
    with pytest.raises(ValueError, match="feature 1: expected finite coordinates"):
        read_areas(write(tmp_path / "b.json", (empty, {})))


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
def test_files_that_were_refused_are_read():
    kinds = {name: [area.kind for area in read_areas(CASES / name)] for name in sorted(FOUND)}
    assert kinds == FOUND


FOUND = {
    "08a_unclassified.geojson": ["Tumor", None],
    "08b_names.geojson": ["Tumor: Invasive"],
    "08d_bom.geojson": ["Tumor", None],
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not readable GeoJSON"),
        (b"3", "expected a GeoJSON FeatureCollection"),
        (b'[{"geometry": 3}]', "feature 1: expected a feature with a geometry"),
        (b'[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1]]]}}]', "feature 1: not readable"),
    ],
)
def test_what_is_no_geojson_is_named(tmp_path, content, message):
    (tmp_path / "a.geojson").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_areas(tmp_path / "a.geojson")


def test_a_map_is_the_same_in_pieces():
    rng = np.random.default_rng(0)
    shapes = [
        shapely.Point(*xy).buffer(radius)
        for xy, radius in zip(rng.random((30, 2)) * 90, rng.random(30) * 15, strict=True)
    ]
    areas = [Annotation("ab"[index % 2], shape) for index, shape in enumerate(shapes)]
    drawn = AnnotationMap(areas, {"a": 1, "b": 2}, (50, 40), (2.0, 1.5), outside=9)
    scaled = shapely.transform(shapes, lambda xy: xy / [2.0, 1.5])
    pairs = [(shape, 1 + index % 2) for index, shape in enumerate(scaled)]
    whole = rasterize(pairs, (50, 40), fill=9, dtype="uint8")
    np.testing.assert_array_equal(drawn[:, :], whole)
    for _ in range(50):
        top, left = rng.integers(0, 40, 2)
        place = slice(top, top + rng.integers(1, 20)), slice(left, left + rng.integers(1, 20))
        np.testing.assert_array_equal(drawn[place], whole[place])
    np.testing.assert_array_equal(drawn[3:9], whole[3:9])
