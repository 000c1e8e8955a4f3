"""Folders of images and masks: pairing, reduction, and the real nuclei set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.transform import resize_local_mean

from lsr_ext.data import read_mask_pairs, read_resize_list
from lsr_ext.data.folders import reduce_image, reduce_mask

DATA = Path(__file__).parents[2].parent / "shared" / "data"
NUCLEI = DATA / "he_nuclei_miccai"


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two pairs, a.png of 4 x 6 and b.png of 8 x 8 pixels, with instance ids in the masks."""
    rng = np.random.default_rng(0)
    for name, size in (("a", (4, 6)), ("b", (8, 8))):
        save(tmp_path / f"{name}.png", rng.integers(0, 256, (*size, 3)))
        save(tmp_path / f"{name}_mask.png", rng.integers(0, 3, size))
    return tmp_path


def test_pairs_in_one_folder(folder):
    images, masks, names = read_mask_pairs(folder, folder)
    assert names == ["a.png", "b.png"]
    for name, image, mask in zip("ab", images, masks, strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(folder / f"{name}.png")))
        np.testing.assert_array_equal(mask, np.asarray(Image.open(folder / f"{name}_mask.png")) > 0)
        assert mask.dtype == np.int64


def test_class_ids_are_kept(folder):
    masks = read_mask_pairs(folder, folder, instance_masks=False)[1]
    np.testing.assert_array_equal(masks[1], np.asarray(Image.open(folder / "b_mask.png")))


def test_pairs_in_two_folders_with_one_name(tmp_path):
    save(tmp_path / "images" / "a.png", np.zeros((2, 2, 3)))
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "a.npy", np.array([[0, 4], [5, 0]]))
    masks = read_mask_pairs(tmp_path / "images", tmp_path / "masks", mask_suffix="")[1]
    np.testing.assert_array_equal(masks[0], [[0, 1], [1, 0]])


def test_images_with_a_suffix_of_their_own(tmp_path):
    save(tmp_path / "a_image.png", np.full((2, 3, 3), 9))
    save(tmp_path / "a_seg.png", [[0, 1, 2], [2, 1, 0]])
    save(tmp_path / "a_thumbnail.png", np.zeros((1, 1, 3)))
    options = {"image_suffix": "_image", "mask_suffix": "_seg", "instance_masks": False}
    images, masks, names = read_mask_pairs(tmp_path, tmp_path, **options)
    assert names == ["a_image.png"]
    assert (images[0] == 9).all()
    np.testing.assert_array_equal(masks[0], [[0, 1, 2], [2, 1, 0]])
    save(tmp_path / "b_seg.png", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"mask .*b_seg\.png has no image b_image in"):
        read_mask_pairs(tmp_path, tmp_path, **options)
    with pytest.raises(ValueError, match="expected images named <name>_photo, found none"):
        read_mask_pairs(tmp_path, tmp_path, image_suffix="_photo")


def test_a_page_or_colours_of_masks(tmp_path):
    save(tmp_path / "a.png", np.zeros((1, 2, 3)))
    pages = [Image.fromarray(np.array([ids], np.uint8)) for ids in ([1, 2], [3, 0])]
    pages[0].save(tmp_path / "a_mask.tif", save_all=True, append_images=pages[1:])
    masks = read_mask_pairs(tmp_path, tmp_path, mask_page=1, instance_masks=False)[1]
    np.testing.assert_array_equal(masks[0], [[3, 0]])
    masks = read_mask_pairs(tmp_path, tmp_path, mask_page=[1, 0], instance_masks=False)[1]
    np.testing.assert_array_equal(masks[0], [[3, 2]])
    pages[0].save(tmp_path / "a_mask.tif", save_all=True, append_images=[Image.new("L", (1, 1))])
    with pytest.raises(ValueError, match=r"a_mask\.tif: expected pages \[0, 1\] of one size, got"):
        read_mask_pairs(tmp_path, tmp_path, mask_page=[0, 1], instance_masks=False)
    (tmp_path / "a_mask.tif").unlink()
    save(tmp_path / "a_mask.png", [[(255, 0, 0), (0, 9, 0)]])
    colours = {2: (255, 0, 0), 0: (0, 0, 0)}
    masks = read_mask_pairs(tmp_path, tmp_path, mask_colours=colours, colour_tolerance=9)[1]
    np.testing.assert_array_equal(masks[0], [[2, 0]])
    with pytest.raises(ValueError, match=r"a_mask\.png: 1 pixels .* \[0, 9, 0\]"):
        read_mask_pairs(tmp_path, tmp_path, mask_colours=colours)
    with pytest.raises(ValueError, match="expected either mask_page or mask_colours, got both"):
        read_mask_pairs(tmp_path, tmp_path, mask_page=0, mask_colours=colours)


def test_resize_and_downscale_bring_all_to_one_scale(folder):
    images, masks, _ = read_mask_pairs(folder, folder, resize={"a.png": 2}, downscale=2)
    assert [image.shape for image in images] == [(4, 6, 3), (4, 4, 3)]
    assert [mask.shape for mask in masks] == [(4, 6), (4, 4)]


def test_image_without_mask(folder):
    (folder / "b_mask.png").unlink()
    with pytest.raises(ValueError, match=r"image .*b\.png has no mask b_mask in"):
        read_mask_pairs(folder, folder)


def test_mask_without_image(folder):
    (folder / "b.png").unlink()
    with pytest.raises(ValueError, match=r"mask .*b_mask\.png has no image b in"):
        read_mask_pairs(folder, folder)


def test_sizes_that_differ(folder):
    save(folder / "b_mask.png", np.zeros((8, 7)))
    with pytest.raises(ValueError, match=r"b\.png is 8 x 8 px, its mask b_mask\.png 8 x 7 px"):
        read_mask_pairs(folder, folder)


def test_two_files_of_one_name(folder):
    save(folder / "a.tif", np.zeros((4, 6, 3)))
    with pytest.raises(ValueError, match=r"two files of one name: .*a\.png and .*a\.tif"):
        read_mask_pairs(folder, folder)


def test_one_folder_needs_a_suffix(folder):
    with pytest.raises(ValueError, match="images and masks in one folder need a mask suffix"):
        read_mask_pairs(folder, folder, mask_suffix="")


def test_missing_mask_folder(folder):
    with pytest.raises(FileNotFoundError, match=r"expected a folder of masks, found none at .*nowhere"):
        read_mask_pairs(folder, folder / "nowhere")


def test_resize_of_an_unknown_image(folder):
    with pytest.raises(ValueError, match=r"resize names 'c\.png', which is not an image of"):
        read_mask_pairs(folder, folder, resize={"c.png": 2})


@pytest.mark.parametrize(("factor", "downscale"), [(2, 1), (2, 3), (0, 1), (1, 0)])
def test_reduction_must_be_whole(folder, factor, downscale):
    with pytest.raises(ValueError, match=r"a\.png: expected a downscale that is a whole multiple .* got"):
        read_mask_pairs(folder, folder, resize={"a.png": factor}, downscale=downscale)


@pytest.mark.parametrize("factor", [2, 3])
def test_images_are_reduced_by_area(factor):
    image = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    expected = resize_local_mean(image.astype(float), (12 // factor, 18 // factor, 3), channel_axis=None)
    np.testing.assert_allclose(reduce_image(image, factor), expected, atol=0.5 + 1e-9)


def test_remainder_is_cut_off_not_padded():
    image = np.full((5, 7, 3), 200, np.uint8)
    np.testing.assert_array_equal(reduce_image(image, 2), np.full((2, 3, 3), 200))
    assert reduce_mask(np.ones((5, 7)), 2).shape == (2, 3)


def test_masks_are_reduced_to_the_pixel_in_the_middle():
    mask = np.arange(36).reshape(6, 6)
    np.testing.assert_array_equal(reduce_mask(mask, 3), [[7, 10], [25, 28]])
    np.testing.assert_array_equal(reduce_mask(mask, 1), mask)


def test_resize_list(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.png 1\nwith space.png 2\n\n")
    assert read_resize_list(path) == {"a.png": 1, "with space.png": 2}
    path.write_text("a.png 1\nb.png x\n")
    with pytest.raises(ValueError, match=r"list\.txt, line 2: expected '<file name> <factor>', got 'b\.png x'"):
        read_resize_list(path)


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(("name", "count"), [("miccai15", 18), ("miccai16", 32)])
def test_real_set_at_20x(name, count):
    resize = read_resize_list(NUCLEI / name / "image_resize_list.txt")
    images, masks, names = read_mask_pairs(NUCLEI / name, NUCLEI / name, resize=resize, downscale=2)
    assert len(images) == count
    for image, mask, file_name in zip(images, masks, names, strict=True):
        with Image.open(NUCLEI / name / file_name) as original:
            factor = 2 // resize[file_name]
            assert image.shape[:2] == mask.shape == (original.height // factor, original.width // factor)
            fine = np.asarray(Image.open(NUCLEI / name / file_name.replace(".png", "_mask.png")))
        nuclei = fine.reshape(*fine.shape[:2], -1).any(axis=2)
        assert mask.mean() == pytest.approx(nuclei.mean(), abs=0.005)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_real_tissue_classes_of_multiplex_fields():
    folder = DATA / "mif_lung_akoya"
    suffixes = {"image_suffix": "_composite_image", "mask_suffix": "_binary_seg_maps"}
    images, masks, _ = read_mask_pairs(folder, folder, **suffixes, mask_page=0, instance_masks=False, downscale=4)
    assert [image.shape for image in images] == [(350, 467, 3)] * 6
    tumour = [np.mean(mask == 0) for mask in masks]
    assert (min(tumour), max(tumour)) == pytest.approx((0.29, 0.56), abs=0.01)
    assert {int(k) for mask in masks for k in np.unique(mask)} == {0, 1, 2}


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_real_painted_nuclei():
    folder = DATA / "ihc_ki67_deepliif"
    colours = {0: [(0, 0, 0), (0, 255, 0)], 1: (255, 0, 0), 2: (0, 0, 255)}
    pairs = {"mask_suffix": "", "mask_colours": colours}
    masks = read_mask_pairs(folder / "images", folder / "masks", **pairs, colour_tolerance=50)[1]
    assert [np.bincount(mask.ravel()).tolist()[2] for mask in masks] == [68253, 57826, 12338, 28631]
    # Some red edges are smoothed.
    with pytest.raises(ValueError, match=r"34_3\.png: 18 pixels have none of the colours"):
        read_mask_pairs(folder / "images", folder / "masks", **pairs)
