"""PNG and JPEG files as slides, against Pillow."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from slides import area_average, tissue_like

from lsr_ext.wsi import (
    CorruptSlideError,
    MissingResolutionError,
    ReadTooLargeError,
    UnsupportedSlideError,
    configure,
    handles,
    open_slide,
)

PIXELS = tissue_like(600, 1100)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_png_is_a_slide_once_its_resolution_is_given(tmp_path, mode):
    path = tmp_path / "slide.png"
    Image.fromarray(PIXELS).convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"))
    slide = open_slide(path, mpp=0.5)
    np.testing.assert_array_equal(slide.read(3, 5, 700, 590, level=0), expected[5:595, 3:703])
    average = area_average(expected, 10, 20, 4.0, 40, 50)
    assert np.abs(slide.read(10, 20, 50, 40, mpp=2.0) - average).max() <= 0.51
    with pytest.raises(MissingResolutionError, match="found none; give it"):
        open_slide(path).read(0, 0, 5, 5, mpp=1.0)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["slide.jpg", "slide.png"])
def test_a_photograph_is_turned_as_it_says(tmp_path, orientation, name):
    path, exif = tmp_path / name, Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(path, quality=90, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    slide = open_slide(path, mpp=1.0)
    assert slide.size == expected.shape[1::-1]
    np.testing.assert_array_equal(slide.read(0, 0, *slide.size, level=0), expected)


def test_what_is_transparent_is_not_inside(tmp_path):
    path, opacity = tmp_path / "slide.png", np.zeros(PIXELS.shape[:2], np.uint8)
    opacity[:300] = 255
    Image.fromarray(np.dstack([PIXELS, opacity])).save(path)
    region = open_slide(path).read(0, 0, 1100, 600, level=0, with_mask=True)
    np.testing.assert_array_equal(region.inside, opacity > 0)
    np.testing.assert_array_equal(region.pixels, np.where(opacity[..., None], PIXELS, 255))


def test_a_resolution_for_print_is_not_taken_and_one_of_a_microscope_is(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(PIXELS).save(tmp_path / name, dpi=(300, 300))
        slide = open_slide(tmp_path / name)
        assert slide.mpp is None
        with pytest.raises(MissingResolutionError, match=r"300 pixels per inch \(84.67 microns per pixel\)"):
            slide.known_mpp()
        Image.fromarray(PIXELS).save(tmp_path / name, dpi=(50800, 50800))
        assert open_slide(tmp_path / name).mpp == pytest.approx((0.5, 0.5), rel=1e-3)


def test_refusals(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256).save(path)
    with pytest.raises(UnsupportedSlideError, match=r"a\.png: expected grey or RGB of 8 bits"):
        open_slide(path)
    Image.fromarray(PIXELS).save(path)
    configure(read_limit_bytes=10**6)
    try:
        with pytest.raises(ReadTooLargeError, match="1100 x 600 px takes 2640000 bytes.*tiled TIFF"):
            open_slide(path)
    finally:
        configure(read_limit_bytes=handles.DEFAULT_MAX_READ_BYTES)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CorruptSlideError, match=r"a\.png"):
        open_slide(path).read(0, 0, 5, 5, level=0)
