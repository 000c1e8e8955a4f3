"""Dots from masks against scikit-image's region properties, and against the counts that are known of real sets."""

from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label, regionprops_table

from lsr_ext.data import read_colour_mask, read_mask
from lsr_ext.data.simulate import simulate_field
from lsr_ext.metrics import DotSet, dots_from_instances, dots_from_masks, read_dots, score_cells

DATA = Path(__file__).parents[2].parent / "shared" / "data"
KI67, MIF = DATA / "ihc_ki67_deepliif", DATA / "mif_lung_akoya"
COLOURS = {0: [(0, 0, 0), (0, 255, 0)], 1: (255, 0, 0), 2: (0, 0, 255)}
needs_ki67 = pytest.mark.skipif(not KI67.is_dir(), reason="needs ../shared/data")
needs_mif = pytest.mark.skipif(not MIF.is_dir(), reason="needs ../shared/data")


def of_class(dots, name):
    return dots.xy[dots.classes == name]


def centroids(labels):
    found = regionprops_table(labels, properties=("centroid",))
    return np.column_stack([found["centroid-1"], found["centroid-0"]]) + 0.5


def test_one_region_has_its_middle():
    mask = np.zeros((6, 8), np.int64)
    mask[2:4, 3:6] = 2
    dots = dots_from_masks(mask, {"cell": 2})
    assert isinstance(dots, DotSet)
    np.testing.assert_allclose(dots.xy, [[4.5, 3.0]])  # x from 3 to 6, y from 2 to 4
    assert dots.classes.tolist() == ["cell"]


def test_regions_are_those_of_scikit_image():
    mask = np.random.default_rng(0).integers(0, 3, (40, 50))
    dots = dots_from_masks(mask, ["background", "a", "b"])
    for class_id, name in ((1, "a"), (2, "b")):
        np.testing.assert_allclose(of_class(dots, name), centroids(label(mask == class_id, connectivity=1)))
    assert set(dots.classes) == {"a", "b"}


def test_small_regions_are_passed_over():
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])
    assert len(dots_from_masks(mask, {"a": 1}, min_area_px=2)) == 2
    np.testing.assert_allclose(dots_from_masks(mask, {"a": 1}, min_area_px=3).xy, [[1.5, 2.5]])
    assert len(dots_from_masks(mask, {"a": 1}, min_area_px=4)) == 0


def test_instances_take_the_class_of_most_of_their_pixels():
    instances = np.array([[7, 7, 7, 0, 3], [0, 0, 0, 0, 3], [9, 9, 0, 0, 0]])
    class_map = np.array([[1, 1, 2, 1, 2], [0, 0, 0, 0, 2], [0, 0, 1, 1, 1]])
    dots = dots_from_instances(instances, class_map, {"a": 1, "b": 2})
    assert dots.classes.tolist() == ["b", "a"]
    np.testing.assert_allclose(dots.xy, [[4.5, 1.0], [1.5, 0.5]])
    assert dots.rows.tolist() == [3, 7]


def test_maps_without_cells_give_no_dots():
    empty = np.zeros((3, 4), int)
    for dots in (dots_from_masks(empty, {"a": 1}), dots_from_instances(empty, empty, {"a": 1})):
        assert dots.xy.shape == (0, 2)


def test_centroids_of_simulated_cells_lie_near_their_dots():
    field = simulate_field(300, seed=1)
    dots = dots_from_instances(field.instances, field.mask, field.classes)
    assert dots.classes.tolist() == [field.classes[k] for k in field.dot_classes]
    inner = ((field.dots > 25) & (field.dots < 275)).all(axis=1)
    assert np.median(np.linalg.norm(dots.xy - field.dots, axis=1)[inner]) < 1.5


@pytest.mark.parametrize(
    ("mask", "classes", "error", "message"),
    [
        (np.zeros((2, 2)), {"a": 1}, TypeError, "expected integer ids in mask, got float64"),
        (np.zeros(3, int), {"a": 1}, ValueError, r"expected mask of shape \(H, W\), got \(3,\)"),
        (np.zeros((2, 2), int), {}, ValueError, "expected classes of distinct ids, got {}"),
        (np.zeros((2, 2), int), {"a": 1, "b": 1}, ValueError, "expected classes of distinct ids"),
    ],
)
def test_bad_input(mask, classes, error, message):
    with pytest.raises(error, match=message):
        dots_from_masks(mask, classes)


def test_bad_areas_and_instances():
    mask = np.ones((2, 2), int)
    with pytest.raises(ValueError, match="expected a min_area_px of at least 1, got 0"):
        dots_from_masks(mask, {"a": 1}, min_area_px=0)
    with pytest.raises(ValueError, match=r"expected maps of one size, got \(2, 2\) and \(2, 1\)"):
        dots_from_instances(mask, mask[:, :1], {"a": 1})
    with pytest.raises(ValueError, match="expected instance ids of at least 0, got -1"):
        dots_from_instances(-mask, mask, {"a": 1})


@needs_ki67
@pytest.mark.parametrize(
    ("name", "tolerance", "positive", "negative"),
    [("22_2", 0, 10, 130), ("34_3", 50, 22, 79), ("6_2", 50, 22, 24), ("799_2", 0, 1, 63)],
)
def test_real_ki67_tiles_have_the_nuclei_that_are_documented(name, tolerance, positive, negative):
    mask = read_colour_mask(KI67 / "masks" / f"{name}.png", COLOURS, tolerance=tolerance)
    dots = dots_from_masks(mask, {"positive": 1, "negative": 2})
    assert (len(of_class(dots, "positive")), len(of_class(dots, "negative"))) == (positive, negative)


@needs_mif
def test_real_fields_have_the_cells_that_are_documented():
    counts = []
    for path in sorted(MIF.glob("*_binary_seg_maps.tif")):
        tissue, nuclei = read_mask(path, page=0), read_mask(path, page=1)
        dots = dots_from_instances(nuclei, tissue, {"tumour": 0, "stroma": 1, "background": 2})
        counts.append(len(dots))
        # Tumour is as large a share of the nuclei as of the area, roughly.
        assert np.mean(dots.classes == "tumour") == pytest.approx(np.mean(tissue == 0), abs=0.2)
    assert sorted(counts) == [5123, 5179, 5493, 6072, 7483, 7860]


@needs_mif
def test_real_table_of_cells_reads_as_dots_and_agrees_with_the_masks():
    table = next(MIF.glob("*_cells.csv"))
    dots = read_dots(table, ("x_um", "y_um", "phenotype", "score"))
    names, counts = np.unique(dots.classes, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "CD68+": 417,
        "CD8+": 228,
        "CK+": 2257,
        "FoxP3+": 228,
        "other": 2942,
    }
    maps = table.with_name(table.name.replace("_cells.csv", "_binary_seg_maps.tif"))
    by_tissue = read_dots(table, ("x_um", "y_um", "tissue_category", "score"))
    found = score_cells(read_mask(maps, page=0), by_tissue, {"Tumor": 0, "Stroma": 1}, pixel_size=0.5)
    assert found.recall.min() > 0.97
    # The table's places, in um of 0.5 per pixel, are the centroids of the nuclei with the same ids.
    nuclei = read_mask(maps, page=1)
    centres = dots_from_instances(nuclei, nuclei > 0, {"nucleus": 1})
    ids = np.loadtxt(table, delimiter=",", skiprows=1, usecols=0, dtype=int)
    centre_of = dict(zip(centres.rows.tolist(), centres.xy, strict=True))
    distances = np.linalg.norm(dots.xy * 2 - [centre_of[cell] for cell in ids.tolist()], axis=1)
    assert np.median(distances) < 2.0
