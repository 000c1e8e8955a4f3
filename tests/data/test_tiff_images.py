"""Masks and images in every way that files store them, against the ids and pixels that were written."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from slides import CASES, needs_cases

from lsr_ext.data import read_image, read_mask

IDS = np.random.default_rng(0).integers(0, 4, (24, 37)).astype(np.uint8)
PALETTE = [9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["minisblack", "palette"])
def test_ids_of_any_number_of_bits_in_tiff(tmp_path, bits, kind):
    ids = IDS & (2**bits - 1)
    colours = np.random.default_rng(1).integers(0, 2**16, 3 * 2**bits).tolist()
    tags = [(320, "H", len(colours), colours, True)] if kind == "palette" else []
    stored = ids.astype(bool) if bits == 1 else ids
    options = {"photometric": "minisblack", "bitspersample": bits, "extratags": tags, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    if kind == "palette":  # tifffile writes palettes of 8 bits only
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
            tiff.pages[0].tags["PhotometricInterpretation"].overwrite(3)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), ids)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [True, False])
def test_ids_of_any_number_of_bits_in_png(tmp_path, bits, palette):
    ids = IDS & (2**bits - 1)
    if palette:
        image = Image.fromarray(ids)
        image.putpalette(np.arange(3 * 2**bits).astype(np.uint8).tolist())
        image.save(tmp_path / "a.png", bits=bits)
    else:
        (tmp_path / "a.png").write_bytes(grey_png(ids, bits))
    assert (tmp_path / "a.png").read_bytes()[24] == bits
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), ids)


def grey_png(ids, bits):
    """A grey PNG of few bits, which Pillow does not write: rows of packed samples, unfiltered."""
    import struct
    import zlib

    planes = np.unpackbits(ids[..., None], axis=2)[..., -bits:].reshape(len(ids), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32"])
def test_ids_are_not_inverted_where_zero_is_white(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", IDS.astype(dtype), photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), IDS)


def test_one_bit_of_which_zero_is_white_could_be_either(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IDS > 1, photometric="miniswhite", metadata=None)
    with pytest.raises(ValueError, match=r"a\.tif: expected a mask whose 0 is black"):
        read_mask(tmp_path / "a.tif")


@needs_cases
def test_a_jpeg_mask_is_refused():
    with pytest.raises(ValueError, match=r"12_jpeg_mask\.jpg: expected a coding that keeps ids, got JPEG"):
        read_mask(CASES / "12_jpeg_mask.jpg")


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_lossy_masks_in_tiff_are_refused(tmp_path, compression):
    ids = IDS if compression != "webp" else np.dstack([IDS] * 3)
    kind = "minisblack" if compression != "webp" else "rgb"
    tifffile.imwrite(tmp_path / "a.tif", ids, photometric=kind, compression=compression, tile=(16, 16))
    with pytest.raises(ValueError, match="keeps ids"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_flags_turn_masks_and_images_as_pillow_does(tmp_path, orientation):
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", IDS, photometric="minisblack", metadata=None, extratags=tags)
    flagged = Image.fromarray(IDS)
    flagged.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(flagged))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], expected)
    for name, read in (("a.png", read_mask), ("a.jpg", read_image)):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(IDS).save(tmp_path / name, exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / name)))
        found = read(tmp_path / name)
        np.testing.assert_array_equal(found if found.ndim == 2 else found[..., 0], expected)


@pytest.mark.parametrize("sub", [True, False])
def test_levels_and_previews_are_passed_over(tmp_path, sub):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        options = {"photometric": "minisblack", "metadata": None}
        tiff.write(IDS, subifds=1 if sub else None, **options)
        tiff.write(IDS[::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), IDS)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], IDS)


def test_pages_that_are_no_previews_must_be_chosen(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IDS, IDS]), photometric="minisblack", metadata=None)
    with pytest.raises(ValueError, match="expected one image in the file, got 2 pages"):
        read_mask(tmp_path / "a.tif")


def test_a_grey_mask_saved_in_colour_holds_the_grey_value(tmp_path):
    Image.fromarray(IDS).convert("RGB").save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([IDS] * 3), photometric="rgb", metadata=None)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), IDS)


def test_planes_alpha_and_palettes_become_rgb(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    options = {"photometric": "rgb", "metadata": None}
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(pixels, -1, 0), planarconfig="separate", **options)
    tifffile.imwrite(
        tmp_path / "alpha.tif", np.dstack([pixels, pixels[..., 0]]), extrasamples=["unassalpha"], **options
    )
    for name in ("planes.tif", "alpha.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), pixels)
    image = Image.fromarray(IDS)
    image.putpalette(PALETTE)
    image.save(tmp_path / "palette.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.tif"), np.asarray(image.convert("RGB")))


def test_a_photographs_preview_is_no_second_page(tmp_path):
    pixels = np.full((40, 60, 3), 120, np.uint8)
    Image.fromarray(pixels).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (9, 6))]
    )
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - pixels).max() <= 2


def test_webp_and_jpeg_tiles_of_an_image(tmp_path):
    pixels = np.kron(np.random.default_rng(3).integers(60, 200, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    for coding in ("webp", "jpeg"):
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression=coding, tile=(32, 32))
        assert np.abs(read_image(tmp_path / "a.tif").astype(int) - pixels).mean() < 6
    assert imagecodecs.WEBP.available
