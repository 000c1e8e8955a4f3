import numpy as np
import pytest
import shapely
from predictions import write_prediction
from slides import tissue_like, write_pyramid

from lsr_ext.inference.exports.spatialdata import export_spatialdata

spatialdata = pytest.importorskip("spatialdata", reason="needs the extra lsr_ext[spatialdata]")


@pytest.fixture
def labels():
    return np.kron(np.random.default_rng(0).choice([0, 1, 2, 255], (26, 44)), np.ones((50, 50))).astype(np.uint8)


def test_elements_are_read_back_in_pixels_of_the_slide(labels, tmp_path):
    path = write_prediction(tmp_path / "a.zarr", labels)
    export_spatialdata(path, tmp_path / "a.spatialdata.zarr", tolerance_px=0, classes=["tumour"])
    content = spatialdata.read_zarr(tmp_path / "a.spatialdata.zarr")
    fine = spatialdata.get_pyramid_levels(content.labels["classes"], n=0)
    np.testing.assert_array_equal(fine.compute(), np.where(labels == 255, 0, labels + 1))
    assert content.attrs["lsr_ext"]["classes"][1] == "tumour"
    regions = content.shapes["regions"]
    assert set(regions["class"]) == {"tumour"}
    assert regions.area.sum() == 4 * (labels == 1).sum()  # half a micron per pixel is two pixels of level 0
    assert regions["area_um2"].sum() == (labels == 1).sum() / 4
    extent = spatialdata.get_extent(content["classes"])
    assert extent["x"] == (0, 4400) and extent["y"] == (0, 2600)


def test_nothing_predicted_has_no_regions(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", np.full((30, 40), 255, np.uint8))
    content = spatialdata.read_zarr(export_spatialdata(path, tmp_path / "b.zarr"))
    assert not content.shapes and not content.labels["classes"].values.any()


def test_lazyslide_opens_it_with_the_slide(labels, tmp_path):
    wsidata = pytest.importorskip("wsidata", reason="needs LazySlide")
    write_pyramid(tmp_path / "a.tif", tissue_like(2600, 4400), levels=2)
    path = write_prediction(tmp_path / "a.zarr", labels)
    export_spatialdata(path, tmp_path / "store.zarr", tolerance_px=0)
    slide = wsidata.open_wsi(tmp_path / "a.tif", store=str(tmp_path / "store.zarr"))
    assert slide.shapes["regions"].area.sum() == 4 * (labels != 255).sum()
    bounds = shapely.box(*slide.shapes["regions"].total_bounds)
    assert shapely.box(0, 0, 4400, 2600).covers(bounds)
