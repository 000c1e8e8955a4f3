"""Patch values from each kind of label source, against areas worked out by hand or by rasterising."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask
from slides import tissue_like, write_pyramid

from lsr_ext.data.cohort import HeatMaps, Masks, PatchProbabilities, Regions
from lsr_ext.data.cohort.grid import Grid, Patches, merge_patches, place_blocks

SIZE = 640, 480  # width, height
GRID = Grid.over(SIZE, 100)  # 4 rows of 6


@pytest.fixture
def slide(tmp_path):
    path = tmp_path / "slides" / "TCGA-A1.01.svs"
    path.parent.mkdir()
    write_pyramid(path, tissue_like(*SIZE[::-1]))
    return path


def test_grids_are_in_rows_and_whole():
    assert (GRID.rows, GRID.columns) == (4, 6)
    assert GRID.rectangles()[7].tolist() == [100, 100, 100, 100]
    assert Grid.over((50, 50), 100).rectangles().shape == (0, 4)


def test_a_block_has_its_highest_patch_or_their_mean_or_nothing():
    blocks = place_blocks(SIZE, 200, 200, (0, 0))
    assert blocks.tolist() == [[x, y, 200, 200] for y in (0, 200) for x in (0, 200, 400)]
    values = np.arange(24.0)
    values[3] = np.nan  # row 0, column 3
    x, y, *_ = Patches(blocks, 2).rectangles().T // 100
    found = values[6 * y + x, None]
    np.testing.assert_array_equal(merge_patches(found, 2, "maximum")[:, 0], [7, np.nan, 11, 19, 21, 23])
    np.testing.assert_array_equal(merge_patches(found, 2, "area")[:, 0], [3.5, np.nan, 7.5, 15.5, 17.5, 19.5])


@pytest.mark.parametrize("name", ["TCGA-A1.01.svs", "TCGA-A1.01", "folder/TCGA-A1.01.svs"])
def test_patch_probabilities(tmp_path, slide, name):
    path = tmp_path / "patches.csv"
    path.write_text(f"slide,x,y,probability\n{name},0,0,0.5\n{name},500,300,1\n{name},600,0,0.25\nother,0,100,1\n")
    values = PatchProbabilities(path).values(slide, SIZE, GRID, None)
    assert np.flatnonzero(~np.isnan(values[:, 0])).tolist() == [0, 23]  # the third is not whole
    assert values[[0, 23], 0].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("slide,x,y\na,0,0", "expected columns slide,x,y,probability"),
        ("slide,x,y,probability\na,0,0,1.5", r"row 2: expected a probability in \[0, 1\], got 1.5"),
        ("slide,x,y,probability\na,0,0,nan", "row 2: expected a probability"),
        ("slide,x,y,probability\na,zero,0,1", "row 2: expected whole x and y"),
        ("slide,x,y,probability\na,0,0", "row 2: expected 4 fields, got 3"),
        ("slide,x,y,probability\na,0,0,1\na,0,0,1", r"row 3: the patch at \(0, 0\) occurs a second time"),
    ],
)
def test_faults_in_probabilities_name_file_and_row(tmp_path, rows, message):
    path = tmp_path / "patches.csv"
    path.write_text(rows)
    with pytest.raises(ValueError, match=rf"patches\.csv.*{message}"):
        PatchProbabilities(path)


def test_probabilities_of_another_grid_or_slide_are_refused(tmp_path, slide):
    path = tmp_path / "patches.csv"
    path.write_text("slide,x,y,probability\nTCGA-A1.01,50,0,1\n")
    with pytest.raises(ValueError, match="expected multiples of 100 px, got a patch at 50, 0"):
        PatchProbabilities(path).values(slide, SIZE, GRID, None)
    with pytest.raises(ValueError, match="expected patches of b.svs, found none"):
        PatchProbabilities(path).values(slide.with_name("b.svs"), SIZE, GRID, None)


def test_probabilities_of_larger_patches_are_told_of(tmp_path, slide, caplog):
    """A classifier that tiles slides of 20x by the pixels of those of 40x."""
    for spacing in (100, 200):
        path = tmp_path / f"{spacing}.csv"
        rows = [f"TCGA-A1.01,{spacing * x},{spacing * y},0.5\n" for y in range(2) for x in range(4)]
        path.write_text("slide,x,y,probability\n" + "".join(rows))
        PatchProbabilities(path).values(slide, SIZE, GRID, None)
    assert "200.csv, " in caplog.text and "100.csv, " not in caplog.text
    assert "expected patches of 100 px, all 8 lie on a grid of 200 px" in caplog.text


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_heat_maps_lie_over_the_whole_slide(tmp_path, slide, suffix):
    grey = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)  # 20 px each
    path = tmp_path / f"TCGA-A1.01{suffix}"
    if suffix == ".npy":
        np.save(path, grey / 255)
    else:
        Image.fromarray(grey).save(path)
    values = HeatMaps(tmp_path).values(slide, SIZE, GRID, None)
    expected = [grey[y // 20 : y // 20 + 5, x // 20 : x // 20 + 5].mean() / 255 for x, y, *_ in GRID.rectangles()]
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-12)


def test_heat_maps_of_another_scale_are_averaged_by_area(tmp_path, slide):
    heat = np.random.default_rng(0).random((7, 9))
    np.save(tmp_path / "TCGA-A1.01.npy", heat)
    values = HeatMaps(tmp_path).values(slide, SIZE, GRID, None)
    centres = (np.arange(4800) + 0.5) / 4800 * 7, (np.arange(6400) + 0.5) / 6400 * 9
    fine = heat[centres[0].astype(int)][:, centres[1].astype(int)]  # ten by ten to a level-0 pixel
    expected = [fine[10 * y : 10 * y + 1000, 10 * x : 10 * x + 1000].mean() for x, y, *_ in GRID.rectangles()]
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-3)


def test_masks_give_a_fraction_per_class(tmp_path, slide):
    ids = np.random.default_rng(0).integers(0, 3, (480, 640), dtype=np.uint8)
    Image.fromarray(ids).save(tmp_path / "TCGA-A1.01.png")
    values = Masks(tmp_path, ["tumour", "stroma"]).values(slide, SIZE, GRID, None)
    for row, (x, y, *_) in zip(values, GRID.rectangles(), strict=True):
        part = ids[y : y + 100, x : x + 100]
        np.testing.assert_allclose(row, [(part == 1).mean(), (part == 2).mean()], atol=1e-12)
    with pytest.raises(ValueError, match=r"expected class ids in \[0, 1\], got 0 to 2"):
        Masks(tmp_path, ["tumour"]).values(slide, SIZE, GRID, None)


def feature(name, coordinates, kind="Polygon"):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}},
    }


def test_regions_as_qupath_writes_them(tmp_path, slide):
    triangle = [[50, 40], [600, 120], [200, 460], [50, 40]]
    square = [[100, 100], [300, 100], [300, 300], [100, 300], [100, 100]]
    hole = [[150, 150], [250, 150], [250, 250], [150, 250], [150, 150]]
    features = [
        feature("Tumor", [triangle]),
        feature("Tumor", [triangle]),  # drawn twice: the union counts
        feature("Stroma", [[square, hole]], "MultiPolygon"),
        feature("Necrosis", [square]),
        {**feature("Tumor", [5, 5], "Point")},
    ]
    path = tmp_path / "TCGA-A1.01.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    values = Regions(tmp_path, ["Tumor", "Stroma"]).values(slide, SIZE, GRID, None)
    fine = polygon2mask((4800, 6400), (np.array(triangle)[:, ::-1]) * 10 - 0.5)
    expected = [fine[10 * y : 10 * y + 1000, 10 * x : 10 * x + 1000].mean() for x, y, *_ in GRID.rectangles()]
    np.testing.assert_allclose(values[:, 0], expected, atol=2e-3)
    # The square covers four patches, and the hole takes a quarter of each.
    stroma = np.zeros((4, 6))
    stroma[1:3, 1:3] = 0.75
    np.testing.assert_allclose(values[:, 1].reshape(4, 6), stroma, atol=1e-12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable GeoJSON"),
        ('{"type": "Thing"}', "expected a GeoJSON FeatureCollection"),
        ('{"type": "Feature"}', "expected regions with a class, got none: 1 without a geometry"),
        ('[{"properties": {}}]', "got none: 1 without a geometry"),
        (
            '[{"properties": {"name": "a"}, "geometry": {"type": "Polygon", "coordinates": [[[0,0]]]}}]',
            "got none: 1 not a valid Polygon",
        ),
    ],
)
def test_faults_in_regions(tmp_path, slide, content, message):
    (tmp_path / "TCGA-A1.01.geojson").write_text(content)
    with pytest.raises(ValueError, match=rf"geojson.*{message}"):
        Regions(tmp_path, ["a"]).values(slide, SIZE, GRID, None)


def test_files_are_missing_or_wrong(tmp_path, slide):
    with pytest.raises(FileNotFoundError, match="absent"):
        HeatMaps(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"expected TCGA-A1\.01\(.*found none"):
        HeatMaps(tmp_path).values(slide, SIZE, GRID, None)
    with pytest.raises(ValueError, match="distinct names"):
        Masks(tmp_path, [])
    np.save(tmp_path / "TCGA-A1.01.npy", np.array([["text"]]))
    with pytest.raises(ValueError, match="expected .* numbers"):
        HeatMaps(tmp_path).values(slide, SIZE, GRID, None)
    np.save(tmp_path / "TCGA-A1.01.npy", np.full((4, 4), 1.5))
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got 1.5"):
        HeatMaps(tmp_path).values(slide, SIZE, GRID, None)
    np.save(tmp_path / "TCGA-A1.01.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"\.npy"):
        HeatMaps(tmp_path).values(slide, SIZE, GRID, None)
