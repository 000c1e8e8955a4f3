import numpy as np
import pytest
import tifffile

from lsr_ext.inference.exports.ome_tiff import export_ome_tiff
from lsr_ext.inference.slide_store import PredictionStore
from lsr_ext.inference.window_grid import Rectangle
from lsr_ext.wsi import open_slide

SHAPE = (2, 1300, 1100)


@pytest.fixture
def prediction(tmp_path):
    """A prediction of 1300 x 1100 px of random rectangles, a third of which was not predicted."""
    rng = np.random.default_rng(0)
    classes = np.kron(rng.choice([0, 1, 255], (26, 22)), np.ones((50, 50))).astype(np.uint8)
    probabilities = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    about = {"slide": "a.tif", "slide_size": [2200, 2600], "slide_mpp": [0.25, 0.25], "mpp": 0.5}
    about |= {"classes": ["glass", "tissue"], "colours": ["#102030", "#ffe119"]}
    store = PredictionStore(tmp_path / "a.zarr", SHAPE, about)
    store.write(Rectangle(0, 0, *SHAPE[1:]), classes, probabilities)
    return store.finish(), classes, probabilities


def test_a_chunk_that_was_being_written_is_removed(tmp_path):
    about = {"slide": "a.tif"}
    PredictionStore(tmp_path / "a.zarr", SHAPE, about)
    left = tmp_path / "a.zarr.unfinished/classes/c/0/0.0123.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    path = PredictionStore(tmp_path / "a.zarr", SHAPE, about).finish()
    assert not list(path.rglob("*.partial"))


def test_the_label_map_is_read_back(prediction, tmp_path):
    path, classes, _ = prediction
    with tifffile.TiffFile(export_ome_tiff(path, tmp_path / "map.ome.tif")) as tiff:
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(1300, 1100), (650, 550), (325, 275)]
        for number, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), classes[:: 2**number, :: 2**number])
        page = tiff.pages[0]
        assert page.colormap[:, 1].tolist() == [255 * 257, 225 * 257, 25 * 257]
        assert page.colormap[:, 255].tolist() == [65535] * 3
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata and "1: tissue" in tiff.ome_metadata


def test_a_probability_is_read_back(prediction, tmp_path):
    path, _, probabilities = prediction
    with tifffile.TiffFile(export_ome_tiff(path, tmp_path / "p.ome.tif", "tissue")) as tiff:
        fine, coarse, *_ = (level.asarray() for level in tiff.series[0].levels)
    np.testing.assert_array_equal(fine, probabilities[1])
    mean = probabilities[1].reshape(650, 2, 550, 2).mean((1, 3))
    assert np.abs(coarse - mean).max() <= 0.5


def test_it_is_a_slide_of_its_resolution(prediction, tmp_path):
    slide = open_slide(export_ome_tiff(prediction[0], tmp_path / "p.ome.tif", "tissue"))
    assert slide.size == (1100, 1300)
    assert slide.mpp == pytest.approx((0.5, 0.5))


def test_a_class_that_is_not_there_is_named(prediction, tmp_path):
    with pytest.raises(ValueError, match="expected one of the classes glass, tissue, got 'stroma'"):
        export_ome_tiff(prediction[0], tmp_path / "p.ome.tif", "stroma")
    with pytest.raises(FileNotFoundError, match="expected a prediction"):
        export_ome_tiff(tmp_path / "none.zarr", tmp_path / "p.ome.tif")
