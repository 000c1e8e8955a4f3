import numpy as np
import pytest
import tifffile
import zarr
from predictions import write_prediction

from lsr_ext.inference.prediction import open_prediction
from lsr_ext.wsi import open_slide

LABELS = np.array([[0, 1, 2], [3, 255, 1]], np.uint8)


def rewrite(path, name, **options):
    """Put another array of zeros in the place of one of a prediction's."""
    zarr.open_group(path, mode="r+").create_array(name, overwrite=True, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("classes", {"shape": (2, 3), "dtype": "int64"}, "expected classes as an array of 2 dimensions in uint8"),
        ("classes", {"shape": (1, 2, 3), "dtype": "uint8"}, "expected classes as an array of 2 dimensions"),
        ("probabilities", {"shape": (4, 2, 4), "dtype": "uint8"}, r"expected probabilities \(4, 2, 3\)"),
        ("probabilities", {"shape": (3, 2, 3), "dtype": "uint8"}, r"expected probabilities \(4, 2, 3\)"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, name, options, message):
    path = write_prediction(tmp_path / "a.zarr", LABELS)
    rewrite(path, name, **options)
    with pytest.raises(ValueError, match=message):
        open_prediction(path)


def test_each_missing_attribute_is_named(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", LABELS)
    group = zarr.open_group(path, mode="r+")
    del group.attrs["slide_mpp"], group.attrs["colours"]
    with pytest.raises(ValueError, match="slide_mpp: Field required; colours: Field required"):
        open_prediction(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slide_mpp", [0.0, 0.25]),
        ("mpp", "0.5"),
        ("mpp", float("nan")),
        ("colours", ["red"] * 4),
        ("slide_size", [0, 4]),
    ],
)
def test_an_attribute_that_makes_no_sense_is_refused(tmp_path, name, value):
    path = write_prediction(tmp_path / "a.zarr", LABELS)
    zarr.open_group(path, mode="r+").attrs[name] = value
    with pytest.raises(ValueError, match=rf"a\.zarr: expected the attributes of a prediction of a slide: {name}"):
        open_prediction(path)


def test_metadata_that_are_damaged_are_refused(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", LABELS)
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace("node_type", "node_tyat"))
    with pytest.raises(ValueError, match=r"a\.zarr: expected a prediction of a slide"):
        open_prediction(path)


def test_the_format_whose_codecs_may_unpickle_is_refused(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", LABELS)
    group = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2, attributes=open_prediction(path).about)
    for name, shape in (("classes", (2, 3)), ("probabilities", (4, 2, 3))):
        group.create_array(name, shape=shape, dtype="uint8")
    with pytest.raises(ValueError, match="expected a prediction"):
        open_prediction(tmp_path / "old.zarr")


def test_the_likelihood_is_that_of_each_pixels_own_class(tmp_path):
    probabilities = np.random.default_rng(0).integers(0, 256, (4, 2, 3)).astype(np.uint8)
    prediction = open_prediction(write_prediction(tmp_path / "a.zarr", LABELS, probabilities))
    found = prediction.likelihood((slice(0, 2), slice(0, 3)), LABELS)
    expected = np.take_along_axis(probabilities, LABELS[None] % 4, 0)[0]
    np.testing.assert_array_equal(found, np.where(LABELS == 255, 0, expected))


def test_a_prediction_of_another_image_of_the_file_is_refused(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", LABELS)
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as tiff:
        for name in ("one", "two"):
            tiff.write(np.zeros((4, 6, 3), np.uint8), photometric="rgb", metadata={"axes": "YXS", "Name": name})
    prediction = open_prediction(path)
    prediction.check_slide(open_slide(tmp_path / "a.tif"))
    with pytest.raises(ValueError, match=r"prediction of the image \(the largest\) of a\.tif, not of two"):
        prediction.check_slide(open_slide(tmp_path / "a.tif", image="two"))
    zarr.open_group(path, mode="r+").attrs["slide_view"] = {"image": "two"}
    prediction = open_prediction(path)
    prediction.check_slide(open_slide(tmp_path / "a.tif", image="two"))
    with pytest.raises(ValueError, match="prediction of the image two of a.tif, not of one"):
        prediction.check_slide(open_slide(tmp_path / "a.tif", image="one"))
