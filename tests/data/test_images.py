"""Images and masks against arrays written by Pillow, tifffile and imagecodecs."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from lsr_ext.data import list_images, read_colour_mask, read_image, read_mask

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)
NUCLEI = Path(__file__).parents[2].parent / "shared" / "data" / "he_nuclei_miccai"


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_rgb_comes_back_as_written(tmp_path, rgb, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(rgb).save(path)
    read = read_image(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, rgb)


def test_jpeg_is_read(tmp_path):
    Image.new("RGB", (8, 4), (200, 100, 50)).save(tmp_path / "a.jpg", quality=100)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (4, 8, 3)
    assert np.abs(read.astype(int) - [200, 100, 50]).max() <= 2


def test_alpha_is_dropped_not_blended(tmp_path, rgb):
    transparent = np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])
    Image.fromarray(transparent).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


def test_grey_becomes_rgb(tmp_path, rgb):
    Image.fromarray(rgb[..., 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.dstack([rgb[..., 0]] * 3))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bit_tiff_is_refused(tmp_path, rgb, compression, planar):
    pixels = rgb.astype(np.uint16) * 257
    pixels = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", planarconfig=planar, compression=compression)
    with pytest.raises(ValueError, match=r"a\.tif: expected 8 bits per channel, got 16"):
        read_image(path)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_16_bit_png_is_refused(tmp_path, rgb, channels):
    pixels = np.ascontiguousarray(rgb[..., :channels].squeeze()).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    with pytest.raises(ValueError, match=r"a\.png: expected 8 bits per channel, got 16"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_file_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"bad\.png: not a readable PNG, JPEG or TIFF image"):
            read(tmp_path / "bad.png")


def test_truncated_file_is_named(tmp_path, rgb):
    Image.fromarray(np.tile(rgb, (40, 40, 1))).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.png: not a readable"):
        read_image(tmp_path / "a.png")


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"expected an image file, found none at nowhere\.png"):
        read_image("nowhere.png")
    with pytest.raises(FileNotFoundError, match=r"expected a mask file, found none at nowhere\.npy"):
        read_mask("nowhere.npy")


def test_size_is_checked_before_decoding(tmp_path, rgb):
    Image.fromarray(np.tile(rgb, (40, 40, 1))).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    # Only the header is left: decoding would fail with another message.
    (tmp_path / "a.png").write_bytes(whole[:60])
    with pytest.raises(ValueError, match="expected at most 100 pixels, got 200 x 280"):
        read_image(tmp_path / "a.png", max_pixels=100)


def test_size_of_npy_mask_is_checked(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 30), np.int8))
    with pytest.raises(ValueError, match="expected at most 100 pixels, got 20 x 30"):
        read_mask(tmp_path / "a.npy", max_pixels=100)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_several_pages_are_refused(tmp_path, read):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 9, 9), np.uint8), photometric="minisblack")
    with pytest.raises(ValueError, match="expected one image in the file, got 4 pages"):
        read(tmp_path / "a.tif")


def test_one_page_of_a_mask(tmp_path):
    pages = np.random.default_rng(0).integers(0, 60000, (4, 9, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", compression="lzw")
    for page in range(4):
        np.testing.assert_array_equal(read_mask(tmp_path / "a.tif", page=page), pages[page])
    for page in (4, -1):
        with pytest.raises(ValueError, match=rf"a\.tif: expected a page from 0 to 3, got {page}"):
            read_mask(tmp_path / "a.tif", page=page)
    np.save(tmp_path / "a.npy", pages[0])
    with pytest.raises(ValueError, match=r"a\.npy: expected a page from 0 to 0, got 1"):
        read_mask(tmp_path / "a.npy", page=1)


def test_size_of_a_later_page_is_checked(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for side in (4, 20):
            tiff.write(np.zeros((side, side), np.uint16))
    assert read_mask(tmp_path / "a.tif", max_pixels=100, page=0).shape == (4, 4)
    with pytest.raises(ValueError, match="expected at most 100 pixels, got 20 x 20"):
        read_mask(tmp_path / "a.tif", max_pixels=100, page=1)


def test_colours_are_classes(tmp_path):
    Image.fromarray(np.array([[RED, BLUE], [GREEN, (0, 0, 0)]], np.uint8)).save(tmp_path / "a.png")
    mask = read_colour_mask(tmp_path / "a.png", {0: [(0, 0, 0), GREEN], 5: RED, 2: BLUE})
    assert mask.dtype == np.int64
    np.testing.assert_array_equal(mask, [[5, 2], [0, 0]])


def test_other_colours_are_named(tmp_path):
    Image.fromarray(np.array([[RED, RED], [RED, (250, 3, 0)]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: 1 pixels .* the first \[250, 3, 0\] in row 1, column 1"):
        read_colour_mask(tmp_path / "a.png", {1: RED}, tolerance=4)
    np.testing.assert_array_equal(read_colour_mask(tmp_path / "a.png", {1: RED}, tolerance=5), [[1, 1], [1, 1]])


def test_within_the_tolerance_the_nearest_colour_counts(tmp_path):
    Image.new("RGB", (2, 1), (140, 0, 0)).save(tmp_path / "a.png")
    mask = read_colour_mask(tmp_path / "a.png", {0: (0, 0, 0), 1: (255, 0, 0)}, tolerance=255)
    np.testing.assert_array_equal(mask, [[1, 1]])


@pytest.mark.parametrize(
    ("colours", "message"),
    [
        ({}, "expected distinct colours of classes, got {}"),
        ({0: RED, 1: RED}, "expected distinct colours"),
        ({0: (0, 0, 256)}, r"expected colours \(R, G, B\) from 0 to 255 for class 0"),
        ({0: (0, 0)}, r"expected colours \(R, G, B\)"),
        ({0: (0.5, 0, 0)}, r"expected colours \(R, G, B\)"),
    ],
)
def test_bad_colours(tmp_path, colours, message):
    with pytest.raises(ValueError, match=message):
        read_colour_mask(tmp_path / "a.png", colours)


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", "uint8"), (".png", "uint16"), (".tif", "uint16")])
def test_grey_masks_hold_the_id(tmp_path, suffix, dtype):
    ids = np.array([[0, 1, 2], [255, 7, 0]]).astype(dtype)
    ids[0, 0] = np.iinfo(dtype).max
    Image.fromarray(ids).save(tmp_path / f"a{suffix}")
    read = read_mask(tmp_path / f"a{suffix}")
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, ids)


def test_palette_mask_holds_the_index(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), [[0, 1], [2, 1]])


@pytest.mark.parametrize("channels", [3, 4])
def test_rgb_mask_ids(tmp_path, channels):
    colours = np.array([[[5, 0, 0, 255], [5, 1, 0, 255], [1, 2, 3, 0]]], np.uint8)[..., :channels]
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), [[5, 261, 1 + 512 + 3 * 65536]])


@pytest.mark.parametrize("ids", [np.array([[True, False]]), np.array([[-1, 70000]])])
def test_npy_mask(tmp_path, ids):
    np.save(tmp_path / "a.npy", ids)
    read = read_mask(tmp_path / "a.npy")
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, ids)


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2, 2), int), np.zeros(4, int)])
def test_npy_mask_of_other_kind_is_refused(tmp_path, bad):
    np.save(tmp_path / "a.npy", bad)
    with pytest.raises(ValueError, match=r"a\.npy: expected a 2-D array of integers, got (float64|int64)"):
        read_mask(tmp_path / "a.npy")


def test_pickle_is_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy: not a readable \.npy array of numbers"):
        read_mask(tmp_path / "a.npy")


def test_npz_archive_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros((2, 2), int))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"expected a 2-D array of integers, got an \.npz archive"):
        read_mask(tmp_path / "a.npy")


def test_float_and_16_bit_rgb_and_two_channel_masks_are_refused(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"float\.tif: expected integer ids, got floating-point pixels"):
        read_mask(tmp_path / "float.tif")
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(rgb.astype(np.uint16)))
    with pytest.raises(ValueError, match="expected an RGB mask of 8 bits per channel, got 16"):
        read_mask(tmp_path / "deep.png")
    Image.new("LA", (3, 3)).save(tmp_path / "la.png")
    with pytest.raises(ValueError, match="expected a grey, palette or RGB mask, got mode LA"):
        read_mask(tmp_path / "la.png")


def test_list_images_is_sorted_and_takes_images_only(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.tiff", "notes.txt", "d.npy"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpeg", "b.PNG", "c.tiff"]


def test_list_images_errors(tmp_path):
    with pytest.raises(ValueError, match=r"expected images .* found none"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected a folder of images, found none at .*nowhere"):
        list_images(tmp_path / "nowhere")


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="needs ../shared/data")
def test_real_masks_count_the_nuclei_that_are_documented():
    masks = [read_mask(path) for path in sorted(NUCLEI.glob("miccai1*/*_mask.png"))]
    assert len(masks) == 50
    assert sum(len(np.unique(mask[mask > 0])) for mask in masks) == 6001
    assert np.mean([np.mean(mask > 0) for mask in masks]) == pytest.approx(0.190, abs=5e-4)
