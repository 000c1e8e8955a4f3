"""Labelled patches of images and cohorts."""

import numpy as np
import pytest
from cohorts import make_cohort
from PIL import Image

from lsr_ext.baselines.patch_data import is_cohort, patches_of_cohort, patches_of_images
from lsr_ext.data.cohort import Recipe, cut_cohort

PATCHES = Recipe(patch_px=32, merge=1, size_px=16, edges=(0.5,))


@pytest.fixture
def images(tmp_path):
    """Three images of two patches, the right one of class 3; the masks lie beside them."""
    mask = np.zeros((10, 20), np.uint8)
    mask[:, 10:] = 3
    for name in "abc":
        Image.fromarray(np.repeat(mask[..., None], 3, -1)).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    return tmp_path


def test_patches_of_images_are_split_by_image(images):
    found = patches_of_images(images, images, 10, 8, positive=3, validation=0.34)
    assert found.train.labels.tolist() == [0, 1] * 2 and found.validation.labels.tolist() == [0, 1]
    assert (found.patch_px, found.input_px) == (10, 8)
    batch = found.collate([found.train[0], found.train[1]])
    assert batch["image"].shape == (2, 3, 8, 8) and batch["label"].tolist() == [0, 1]


def test_nothing_is_held_out_where_not_wanted(images):
    found = patches_of_images(images, images, 10, positive=3, validation=0)
    assert found.validation is None and len(found.train) == 6
    assert found.train.labels.tolist() == [0, 1] * 3
    assert patches_of_images(images, images, 10, positive=2, validation=0).train.labels.sum() == 0


def test_patches_of_a_manifest_and_of_its_store(tmp_path):
    manifest = make_cohort(tmp_path, 2, recipe=PATCHES, shares={"train": 0.5, "validation": 0.5})
    store = cut_cohort(manifest, tmp_path / "store")
    for source in (manifest, store):
        assert is_cohort(source)
        found = patches_of_cohort(source)
        assert (found.patch_px, found.input_px) == (32, 16)
        assert len(found.train) + len(found.validation) == 32
        assert set(found.train.labels.tolist()) <= {0, 1}
    assert not is_cohort(tmp_path)


def test_other_labels_are_refused(tmp_path):
    manifest = make_cohort(tmp_path, 2)
    with pytest.raises(ValueError, match=r"expected patches with the labels 0 and 1 .*got 4 labels of 1 classes"):
        patches_of_cohort(manifest)
