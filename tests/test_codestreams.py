"""Colours by what a stream says, against OpenSlide, Pillow and the pixels that were written."""

import io

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from openjpeg import JP2, RAW, SRGB, SYCC, UNSAID, encode
from PIL import Image
from slides import CASES, needs_cases, tissue_like

from lsr_ext.codestreams import check_declared_size
from lsr_ext.data import read_image
from lsr_ext.wsi import open_slide

PIXELS = np.kron(tissue_like(256, 256, seed=3)[::2, ::2], np.ones((2, 2, 1), np.uint8))  # equal in each 2 x 2
APERIO = "Aperio Image Library v10\r\n256x256 (256x256) J2K/YUV16 Q=70|AppMag = 40|MPP = 0.25"


def to_ycbcr(pixels):
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def write_tile(path, stream, compression, photometric="rgb", description=None, **options):
    """A TIFF of one 256 px tile that holds these bytes."""
    tifffile.imwrite(
        path,
        iter([stream]),
        shape=(256, 256, 3),
        dtype=np.uint8,
        tile=(256, 256),
        compression=compression,
        photometric=photometric,
        description=description,
        metadata=None,
        **options,
    )


@needs_cases
def test_aperio_422_as_openslide_reads_it():
    path = CASES / "01_aperio_33003_422.svs"
    slide, oracle = open_slide(path), openslide.OpenSlide(path)
    assert slide.backend == "tiff"
    theirs = np.asarray(oracle.read_region((0, 0), 0, slide.size))[..., :3]
    assert np.abs(slide.read(0, 0, *slide.size, level=0).astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("compression", [33003, 34712])
@pytest.mark.parametrize("steps", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize(("form", "colours"), [(RAW, UNSAID), (JP2, SYCC)])
def test_ycbcr_in_jpeg_2000_becomes_rgb_once(tmp_path, compression, steps, form, colours):
    stream = encode(tmp_path / "tile", to_ycbcr(PIXELS), steps, form, colours)
    photometric = "rgb" if compression == 33003 else "ycbcr"
    write_tile(tmp_path / "slide.tif", stream, compression, photometric, APERIO)
    read = open_slide(tmp_path / "slide.tif").read(0, 0, 256, 256, level=0)
    assert np.abs(read.astype(int) - PIXELS).max() <= 4  # OpenJPEG cuts fractions off


def test_what_the_decoder_has_turned_into_rgb_is_left_as_it_is(tmp_path):
    """The tag says YCbCr; the stream says that the encoder made it of RGB, or that it is RGB."""
    streams = [
        imagecodecs.jpeg2k_encode(PIXELS, level=0, codecformat="J2K", mct=True),
        encode(tmp_path / "tile", PIXELS, form=JP2, colours=SRGB),
    ]
    for stream in streams:
        write_tile(tmp_path / "slide.tif", stream, 33003, description=APERIO)
        np.testing.assert_array_equal(open_slide(tmp_path / "slide.tif").read(0, 0, 256, 256, level=0), PIXELS)


@needs_cases
@pytest.mark.parametrize("name", ["06_bioformats_jpeg_444.tif", "06b_bioformats_jpeg_420.tif"])
def test_jpeg_in_ycbcr_tagged_as_rgb(name):
    path = CASES / name
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        content = path.read_bytes()[page.dataoffsets[0] :][: page.databytecounts[0]]
    tile = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))  # Pillow decodes the tile as a JPEG file
    for read in (open_slide(path).read(0, 0, 256, 256, level=0), read_image(path)[:256, :256]):
        assert np.abs(read.astype(int) - tile).max() <= 2


def without_markers(stream):
    """Drop JFIF's and Adobe's segments."""
    place = 2
    while stream[place + 1] in (0xE0, 0xEE):
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return stream[:2] + stream[place:]


@pytest.mark.parametrize("outcolorspace", ["RGB", "YCBCR"])
@pytest.mark.parametrize("subsampling", ["444", "420", "422"])
@pytest.mark.parametrize("marked", [True, False])
def test_jpeg_tagged_as_rgb(tmp_path, outcolorspace, subsampling, marked):
    if outcolorspace == "RGB" and subsampling != "444":
        pytest.skip("nobody subsamples red and blue")
    if outcolorspace == "YCBCR" and subsampling == "444" and not marked:
        pytest.skip("nothing in such a file says that its tag is wrong")
    stream = imagecodecs.jpeg8_encode(
        PIXELS, level=95, colorspace="RGB", outcolorspace=outcolorspace, subsampling=subsampling
    )
    stream = stream if marked else without_markers(stream)
    write_tile(tmp_path / "slide.tif", stream, 7, compressionargs={"outcolorspace": "RGB"})
    with tifffile.TiffFile(tmp_path / "slide.tif") as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
    for read in (
        open_slide(tmp_path / "slide.tif").read(0, 0, 256, 256, level=0),
        read_image(tmp_path / "slide.tif"),
    ):
        assert np.abs(read.astype(int) - PIXELS).mean() < 5


def test_a_declared_size_is_found_behind_long_headers():
    stream, comment = imagecodecs.jpeg8_encode(PIXELS), b"\xff\xfe\xff\xff" + bytes(2**16 - 3)
    check_declared_size(stream[:2] + 2 * comment + stream[2:], 7, 256, 256)
    with pytest.raises(ValueError, match="expected a tile of 128 x 128 px, got 256 x 256 px"):
        check_declared_size(stream[:2] + 2 * comment + stream[2:], 7, 128, 128)
