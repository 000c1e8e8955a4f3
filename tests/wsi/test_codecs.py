"""Every coding of tiles against OpenSlide and tifffile, and damage to each of them."""

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from slides import tissue_like, write_pyramid

from lsr_ext.wsi import CorruptSlideError, UnsupportedSlideError, open_slide

PIXELS = tissue_like(300, 420)
APERIO = "Aperio Image Library v11\r\n420x300 (128x128) J2K/KDU Q=70|AppMag = 40|MPP = 0.25"
CODINGS = {
    "none": {"compression": None},
    "deflate": {"compression": "deflate"},
    "deflate, predictor": {"compression": "deflate", "predictor": 2},
    "deflate, big-endian": {"compression": "deflate", "byteorder": ">"},
    "lzw": {"compression": "lzw"},
    "lzw, predictor": {"compression": "lzw", "predictor": 2},
    "jpeg 4:2:0": {"compression": "jpeg", "subsampling": (2, 2)},
    "jpeg 4:4:4": {"compression": "jpeg", "subsampling": (1, 1)},
    "jpeg in rgb": {"compression": "jpeg", "compressionargs": {"level": 85, "outcolorspace": "RGB"}},
    "jpeg 2000": {
        "compression": 33005,
        "compressionargs": {"level": 0, "codecformat": "J2K"},
        "description": APERIO,
    },
}


@pytest.fixture(params=list(CODINGS))
def coded(request, tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, PIXELS, **CODINGS[request.param])
    return path


def test_pixels_equal_tifffile_and_openslide(coded):
    slide = open_slide(coded, backend="tiff")
    read = slide.read(0, 0, 420, 300, level=0)
    np.testing.assert_array_equal(read, tifffile.imread(coded))
    assert np.abs(read.astype(int) - PIXELS).mean() < 4
    if openslide.OpenSlide.detect_format(coded):
        theirs = np.asarray(openslide.OpenSlide(coded).read_region((0, 0), 0, (420, 300)))[..., :3]
        np.testing.assert_array_equal(read, theirs)


def tile_spans(path):
    with tifffile.TiffFile(path) as tiff:
        return list(zip(tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts, strict=True))


def test_a_tile_cut_short_is_an_error_and_its_neighbours_are_not(coded):
    shorten_tile(coded, 5)  # of 4 x 3
    slide = open_slide(coded, backend="tiff")
    with pytest.raises(CorruptSlideError, match=r"slide\.tif, level 0, tile \(1, 1\)"):
        slide.read(128, 128, 10, 10, level=0)
    with pytest.raises(CorruptSlideError, match=r"tile \(1, 1\)"):
        slide.read(0, 0, 40, 30, mpp=2.5)
    assert slide.read(256, 128, 100, 100, level=0).shape == (100, 100, 3)


def shorten_tile(path, index):
    """Halve the number of bytes that the directory gives for a tile."""
    with tifffile.TiffFile(path) as tiff:
        tag, order = tiff.pages[0].tags["TileByteCounts"], {"<": "little", ">": "big"}[tiff.byteorder]
    width = {3: 2, 4: 4}[int(tag.dtype)]
    with path.open("rb+") as file:
        file.seek(tag.valueoffset + index * width)
        file.write((tag.value[index] // 2).to_bytes(width, order))


def test_a_file_cut_short_tells_which_tile_is_missing(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, PIXELS, compression="deflate")
    offset, size = tile_spans(path)[-1]
    with path.open("rb+") as file:
        file.truncate(offset + size // 2)
    slide = open_slide(path, backend="tiff")
    with pytest.raises(CorruptSlideError, match="inside the file"):
        slide.read(400, 290, 10, 10, level=0)


def test_jpeg_2000_in_ycbcr_becomes_rgb(tmp_path):
    """Compression 33003 holds plain YCbCr; tiles are written so here, and must read as OpenSlide reads them."""
    y, cb, cr = (
        PIXELS @ np.array(row) + shift
        for row, shift in (
            ([0.299, 0.587, 0.114], 0),
            ([-0.168736, -0.331264, 0.5], 128),
            ([0.5, -0.418688, -0.081312], 128),
        )
    )
    ycbcr = np.stack([y, cb, cr], axis=-1).round().clip(0, 255).astype(np.uint8)
    path = tmp_path / "slide.svs"
    description = "Aperio Image Library v10\r\n420x300 (128x128) J2K/YUV16 Q=70|AppMag = 40|MPP = 0.25"
    arguments = {"level": 0, "codecformat": "J2K", "mct": False}
    write_pyramid(path, ycbcr, compression=33003, compressionargs=arguments, description=description)
    slide = open_slide(path)
    assert (slide.backend, slide.vendor) == ("tiff", "aperio")
    read = slide.read(0, 0, 420, 300, level=0).astype(int)
    assert np.abs(read - PIXELS).max() <= 2
    theirs = np.asarray(openslide.OpenSlide(path).read_region((0, 0), 0, (420, 300)))[..., :3]
    assert np.abs(read - theirs).max() <= 1


def test_a_tile_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "slide.tif"
    arguments = {"level": 0, "codecformat": "J2K"}
    write_pyramid(path, PIXELS, compression=33005, compressionargs=arguments)
    offset, _ = tile_spans(path)[0]
    with path.open("rb+") as file:
        content = bytearray(path.read_bytes())
        assert content[offset : offset + 4] == b"\xff\x4f\xff\x51"
        file.seek(offset + 8)
        file.write((60_000).to_bytes(4, "big") * 2)  # width and height in the header
    with pytest.raises(CorruptSlideError, match="expected JPEG 2000 of 128 x 128 px in 3 components, got 60000"):
        open_slide(path, backend="tiff").read(0, 0, 5, 5, level=0)
    jpeg = tmp_path / "jpeg.tif"
    write_pyramid(jpeg, PIXELS)
    small = imagecodecs.jpeg8_encode(PIXELS[:64, :64], level=50)
    offset, size = tile_spans(jpeg)[0]
    assert len(small) <= size
    with jpeg.open("rb+") as file:
        file.seek(offset)
        file.write(small)
    with pytest.raises(CorruptSlideError, match="expected a tile of 128 x 128 px, got 64 x 64"):
        open_slide(jpeg, backend="tiff").read(0, 0, 5, 5, level=0)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (PIXELS.astype(np.uint16), {"photometric": "rgb", "tile": (64, 64)}, "8 bits per sample"),
        (PIXELS[..., 0], {"photometric": "minisblack", "tile": (64, 64)}, "3 samples per pixel"),
        (PIXELS, {"photometric": "rgb"}, "tiled TIFF, got one of strips"),
        (np.moveaxis(PIXELS, -1, 0), {"photometric": "rgb", "tile": (64, 64), "planarconfig": 2}, "interleaved"),
        (PIXELS, {"photometric": "rgb", "tile": (64, 64), "compression": "lzma"}, "JPEG, JPEG 2000, deflate"),
    ],
)
def test_other_tiffs_are_refused_by_what_was_expected(tmp_path, array, options, message):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, array, **options)
    with pytest.raises(UnsupportedSlideError, match=message):
        open_slide(path, backend="tiff")


def test_levels_in_sub_directories_are_found(tmp_path):
    path = tmp_path / "slide.ome.tif"
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(
            PIXELS, subifds=1, metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.4}, **options
        )
        tiff.write(PIXELS[::2, ::2], subfiletype=1, **options)
    slide = open_slide(path)
    assert [level[:2] for level in slide.levels] == [(420, 300), (210, 150)]
    assert slide.mpp == (0.5, 0.4)
    np.testing.assert_array_equal(slide.read(0, 0, 210, 150, level=1), PIXELS[::2, ::2])


def test_a_hole_in_a_lower_level_of_an_svs_goes_to_openslide(tmp_path):
    path = tmp_path / "slide.svs"
    description = "Aperio Image Library v11\r\n512x512 (64x64) JPEG/RGB Q=85|AppMag = 40|MPP = 0.25"
    pixels = tissue_like(512, 512)
    write_pyramid(path, pixels, tile_px=64, levels=2, description=description)
    assert open_slide(path).backend == "tiff"
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[1].tags["TileByteCounts"]
        place, kind = tag.valueoffset, tag.dtype
    with path.open("rb+") as file:
        file.seek(place)
        file.write(bytes({3: 2, 4: 4}[int(kind)]))
    assert open_slide(path).backend == "openslide"
