import numpy as np
import pytest
import shapely
from predictions import random_map
from rasterio.features import rasterize

from lsr_ext.inference.exports import outlines
from lsr_ext.inference.exports.outlines import outline_regions


def outlined(labels, tile_px, monkeypatch, **options):
    """Regions and their polygons."""
    monkeypatch.setattr(outlines, "TILE_PX", tile_px)
    regions = list(outline_regions(labels, **options))
    return regions, [shapely.Polygon(region.rings[0], region.rings[1:]) for region in regions]


def filled(regions, polygons, shape):
    """The map that polygons fill, by the centres of pixels."""
    shapes = [(polygon, region.class_id) for region, polygon in zip(regions, polygons, strict=True)]
    return rasterize(shapes, out_shape=shape, fill=255, dtype="uint8") if shapes else np.full(shape, 255, np.uint8)


def check_map(labels, tile_px, monkeypatch, tolerances_px):
    exact_regions, exact = outlined(labels, tile_px, monkeypatch)
    np.testing.assert_array_equal(filled(exact_regions, exact, labels.shape), labels)
    assert [polygon.area for polygon in exact] == [region.area_px for region in exact_regions]
    assert shapely.is_valid(exact).all()
    for tolerance_px in tolerances_px:
        regions, simple = outlined(labels, tile_px, monkeypatch, tolerance_px=tolerance_px)
        assert shapely.is_valid(simple).all(), shapely.is_valid_reason(simple)
        assert [(r.class_id, r.area_px) for r in regions] == [(r.class_id, r.area_px) for r in exact_regions]
        # Neither overlaps nor gaps.
        assert shapely.union_all(simple).area == pytest.approx(sum(p.area for p in simple), abs=1e-6)
        for before, after in zip(exact, simple, strict=True):
            assert shapely.hausdorff_distance(before.boundary, after.boundary) <= tolerance_px + 1e-9
            assert len(before.interiors) == len(after.interiors)


def test_polygons_fill_the_map_and_simple_ones_share_their_edges(monkeypatch):
    rng = np.random.default_rng(1)
    for _ in range(50):
        check_map(random_map(rng), int(rng.integers(4, 27)), monkeypatch, (0.75, 2.0))


@pytest.mark.long
def test_a_thousand_maps(monkeypatch):
    rng = np.random.default_rng(2)
    for _ in range(1000):
        check_map(random_map(rng, 40), int(rng.integers(8, 40)), monkeypatch, (1.0, 4.0))


def test_simple_polygons_of_neighbours_have_the_same_vertices(monkeypatch):
    labels = random_map(np.random.default_rng(3), 80)
    _, simple = outlined(labels, 512, monkeypatch, tolerance_px=1.0)
    assert shapely.coverage_is_valid(simple)


def test_tiles_leave_no_trace(monkeypatch):
    rng = np.random.default_rng(4)
    for _ in range(20):
        labels = random_map(rng)
        whole = {polygon.normalize() for polygon in outlined(labels, 64, monkeypatch)[1]}
        assert {polygon.normalize() for polygon in outlined(labels, 5, monkeypatch)[1]} == whole


def test_a_region_that_touches_itself_at_a_corner_has_a_hole():
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)
    by_class = {region.area_px: region.rings for region in outline_regions(labels)}
    assert len(by_class[7]) == 2
    assert shapely.Polygon(by_class[7][0], by_class[7][1:]).is_valid


def test_small_regions_and_other_classes_are_left_out():
    labels = np.zeros((6, 6), np.uint8)
    labels[1, 1] = labels[3:5, 3:5] = 1
    assert [region.area_px for region in outline_regions(labels, wanted={1})] == [1, 4]
    kept = {region.area_px: region for region in outline_regions(labels, min_area_px=2)}
    assert kept.keys() == {4, 31} and len(kept[31].rings) == 3


def test_values_are_added_up():
    labels = np.array([[1, 1, 0]], np.uint8)
    values = np.array([[3, 4, 5]], np.uint8)
    found = outline_regions(labels, values=lambda place, _: values[place])
    assert {region.class_id: region.total for region in found} == {1: 7.0, 0: 5.0}


def test_nothing_predicted_is_nothing_outlined():
    assert list(outline_regions(np.full((3, 4), 255, np.uint8))) == []
    with pytest.raises(ValueError, match="expected a tolerance and an area of at least 0"):
        list(outline_regions(np.zeros((3, 4), np.uint8), tolerance_px=-1))
