"""Which pages are levels, and which image of a file is the slide."""

import numpy as np
import openslide
import pytest
import tifffile
from slides import CASES, halved, needs_cases, tissue_like

from lsr_ext.wsi import UnsupportedSlideError, open_slide

PIXELS = tissue_like(512, 768)
TILED = {"tile": (128, 128), "photometric": "rgb", "compression": "deflate", "metadata": None}
BLUE = np.broadcast_to(np.uint8([40, 60, 220]), (256, 384, 3))


def write(path, *pages, **options):
    """Pages, each an array or (array, subfiletype)."""
    with tifffile.TiffWriter(path, **options) as tiff:
        for page in pages:
            pixels, flag = page if isinstance(page, tuple) else (page, 0)
            tiff.write(pixels, subfiletype=flag, **TILED)
    return path


@needs_cases
def test_an_overlay_is_no_level():
    path = CASES / "02_overlay_page.tif"
    slide, oracle = open_slide(path), openslide.OpenSlide(path)
    assert len(slide.levels) == oracle.level_count == 1
    whole = np.asarray(oracle.read_region((0, 0), 0, oracle.dimensions).convert("RGB"))
    blocks = whole.reshape(256, 4, 256, 4, 3).mean(axis=(1, 3))
    assert np.abs(slide.read_resized(0, 0, 1024, 1024, (256, 256)) - blocks).mean() < 2


@needs_cases
def test_another_scene_is_no_level_and_is_read_by_name():
    path = CASES / "03_two_scenes.ome.tif"
    slide = open_slide(path)
    with tifffile.TiffFile(path) as tiff:
        names, scenes = [series.name for series in tiff.series], [series.asarray() for series in tiff.series]
    assert slide.images == tuple(names)
    assert len(slide.levels) == 1
    for name, scene in zip(names, scenes, strict=True):
        one = open_slide(path, image=name)
        np.testing.assert_array_equal(one.read(0, 0, *one.size, level=0), scene)
    with pytest.raises(UnsupportedSlideError, match=f"'nowhere', got the images '{names[0]}'"):
        open_slide(path, image="nowhere")


@pytest.mark.parametrize("flag", [0, 1])
def test_a_smaller_page_that_shows_the_same_is_a_level_flagged_or_not(tmp_path, flag):
    half = halved(PIXELS)
    path = write(tmp_path / "a.tif", PIXELS, (half, flag), (halved(half), flag))
    slide = open_slide(path)
    assert [level[:2] for level in slide.levels] == [(768, 512), (384, 256), (192, 128)]
    np.testing.assert_array_equal(slide.read(0, 0, 384, 256, level=1), half)


@pytest.mark.parametrize("kind", ["blue", "marked", "other tissue", "mirrored"])
def test_a_smaller_page_that_shows_something_else_is_none(tmp_path, kind):
    half = halved(PIXELS)
    marked = half.copy()
    marked[100:160, 150:260] = [0, 255, 0]
    other = {
        "blue": BLUE,
        "marked": marked,
        "other tissue": tissue_like(256, 384, seed=9),
        "mirrored": half[:, ::-1],
    }
    slide = open_slide(write(tmp_path / "a.tif", PIXELS, other[kind]))
    assert len(slide.levels) == 1
    assert slide.images == ("page 0", "page 1")


def test_a_page_too_small_to_compare_is_none(tmp_path):
    slide = open_slide(write(tmp_path / "a.tif", np.ascontiguousarray(BLUE[:2, :2]), PIXELS[:1, :1]))
    assert (len(slide.levels), slide.images) == (1, ("page 0", "page 1"))


def test_the_largest_of_several_pages_is_the_slide(tmp_path):
    path = write(tmp_path / "a.tif", np.ascontiguousarray(BLUE), PIXELS, (halved(PIXELS), 1))
    slide = open_slide(path)
    assert [level[:2] for level in slide.levels] == [(768, 512), (384, 256)]
    np.testing.assert_array_equal(slide.read(0, 0, 768, 512, level=0), PIXELS)
    np.testing.assert_array_equal(open_slide(path, image="page 0").read(0, 0, 384, 256, level=0), BLUE)


def test_a_smaller_scene_first_and_resolutions_of_each(tmp_path):
    path = tmp_path / "a.ome.tif"
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "deflate"}
    about = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(np.ascontiguousarray(BLUE), metadata=about | {"Name": "macro", "PhysicalSizeX": 8.0}, **options)
        tiff.write(PIXELS, subifds=1, metadata=about | {"Name": "scan"}, **options)
        tiff.write(halved(PIXELS), subfiletype=1, **options)
    slide = open_slide(path)
    assert (slide.size, slide.mpp, len(slide.levels)) == ((768, 512), (0.5, 0.5), 2)
    assert open_slide(path, image="macro").mpp == (8.0, 0.5)
