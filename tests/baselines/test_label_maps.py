"""Class maps and pseudo-labels of folders of images."""

import numpy as np
import pytest
from PIL import Image

from lsr_ext.baselines import StainSet
from lsr_ext.baselines.label_maps import class_shares, map_images, pseudo_label_images
from lsr_ext.data import read_mask

STAINS = StainSet(("red", "blue"), np.array([[190.0, 50, 60], [50, 60, 190]]))


@pytest.fixture
def images(tmp_path):
    """Two white images of 40 x 100 pixels with a square of each stain, and their true map."""
    truth = np.zeros((40, 100), np.uint8)
    truth[10:30, 10:30], truth[10:30, 60:80] = 1, 2
    (tmp_path / "images").mkdir()
    for name in ("one", "two"):
        pixels = np.vstack([STAINS.background_rgb, STAINS.rgb]).astype(np.uint8)[truth]
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    return tmp_path / "images", truth


def test_maps_are_written_and_observed(images, tmp_path):
    folder, truth = images
    seen = []
    shares = map_images(folder, lambda image: truth, 2, tmp_path / "out", lambda *given: seen.append(given))
    for name in ("one", "two"):
        assert np.array_equal(read_mask(tmp_path / "out" / f"{name}.png"), truth)
        np.testing.assert_array_equal(shares[name], [0.8, 0.1, 0.1])
    assert [(name, image.shape) for name, image, _ in seen] == [("one", (40, 100, 3)), ("two", (40, 100, 3))]
    assert seen[0][2] is truth


def test_one_image_is_enough(images, tmp_path):
    folder, truth = images
    assert list(map_images(folder / "two.png", lambda image: truth, 2, tmp_path / "out")) == ["two"]


def test_pseudo_labels_of_stains_labelled_high(images, tmp_path):
    folder, truth = images
    labels = tmp_path / "labels.csv"
    labels.write_text("image,blue,red\none.png,0,1\ntwo.png,1,-1\n")
    shares = pseudo_label_images(folder, labels, STAINS, tmp_path / "out", share=(0.01, 0.02))
    for name, high in (("one", 1), ("two", 2)):
        marked = read_mask(tmp_path / "out" / f"{name}.png")
        assert set(np.unique(marked)) == {0, high, 255}
        assert np.array_equal(marked[marked < 255], truth[marked < 255])
        assert shares[name][high] == 0.02 and shares[name][3 - high] == 0


def test_the_column_of_one_stain_may_be_label(images, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\none.png,1\n")
    red = StainSet(("red",), STAINS.rgb[:1])
    assert pseudo_label_images(images[0], labels, red, tmp_path / "out")["one"][1] == 0.005
    with pytest.raises(ValueError, match=r"labels.csv: expected the columns image,red,blue, got image,label"):
        pseudo_label_images(images[0], labels, STAINS, tmp_path / "out")


def test_two_images_of_one_name(images, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("image,red,blue\na/one.png,1,0\nb/one.png,1,0\n")
    with pytest.raises(ValueError, match=r"labels.csv: expected images of different names, got two of 'one'"):
        pseudo_label_images(images[0], labels, STAINS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shares_leave_out_what_is_no_class():
    np.testing.assert_array_equal(class_shares(np.array([[0, 1], [255, 1]], np.uint8), 2), [0.25, 0.5, 0])
