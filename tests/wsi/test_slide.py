"""Pixels of real slides against OpenSlide and tifffile, of generated ones against a float64 area average."""

import pickle
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from slides import REAL, area_average, tissue_like, write_pyramid

from lsr_ext.wsi import (
    MissingResolutionError,
    ReadTooLargeError,
    SlideError,
    UnsupportedSlideError,
    configure,
    open_slide,
)

SLIDES = sorted([*REAL.glob("*.svs"), *REAL.glob("*.ndpi")])
CROPS = sorted((REAL / "ome_tiff_crops").glob("*.tif"))
needs_slides = pytest.mark.skipif(not SLIDES, reason="the real slides are not there")


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    """A lossless pyramid of odd size, and its levels' pixels."""
    path = tmp_path_factory.mktemp("pyramid") / "slide.tif"
    return path, write_pyramid(path, tissue_like(531, 747), levels=3, compression="deflate")


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    """One level in JPEG, and what tifffile decodes of it."""
    path = tmp_path_factory.mktemp("jpeg") / "slide.tif"
    write_pyramid(path, tissue_like(640, 896))
    return path, tifffile.imread(path)


def random_rectangles(rng, width, height, count):
    """Inside, across the borders, and outside."""
    for _ in range(count):
        w, h = rng.integers(1, 300, 2)
        yield int(rng.integers(-w - 9, width + 9)), int(rng.integers(-h - 9, height + 9)), int(w), int(h)


@needs_slides
@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.parametrize("path", SLIDES, ids=lambda path: path.stem)
def test_every_level_equals_openslide_at_random_rectangles(path, count):
    slide, oracle = open_slide(path), openslide.OpenSlide(path)
    assert slide.size == oracle.dimensions
    rng = np.random.default_rng(0)
    for index, level in enumerate(slide.levels):
        assert level[:2] == oracle.level_dimensions[index]
        assert level.downsample == oracle.level_downsamples[index]
        # From the corner on, OpenSlide's pixels are the level's own; elsewhere it may interpolate between them.
        whole = np.asarray(oracle.read_region((0, 0), index, level[:2]))
        for x, y, width, height in random_rectangles(rng, level.width, level.height, count):
            corner = x * level.downsample, y * level.downsample
            region = slide.read(*corner, width, height, level=index, with_mask=True)
            expected, inside = cut(whole, x, y, width, height)
            np.testing.assert_array_equal(region.inside, inside)
            np.testing.assert_array_equal(region.pixels, expected)


def cut(whole, x, y, width, height):
    """A rectangle of an RGBA level on white, and where there is any alpha."""
    rgba = np.zeros((height, width, 4), np.uint8)
    top, left = max(y, 0), max(x, 0)
    part = whole[top : max(y + height, 0), left : max(x + width, 0)]
    rgba[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part
    inside = rgba[..., 3] > 0
    return np.where(inside[..., None], rgba[..., :3], 255), inside


@needs_slides
def test_level_0_equals_openslide_called_directly():
    path = REAL / "CMU-1-Small-Region.svs"
    slide, oracle = open_slide(path), openslide.OpenSlide(path)
    assert slide.backend == "tiff"
    for x, y, width, height in random_rectangles(np.random.default_rng(1), *slide.size, 100):
        rgba = np.asarray(oracle.read_region((x, y), 0, (width, height)))
        np.testing.assert_array_equal(slide.read(x, y, width, height, level=0), cut(rgba, 0, 0, width, height)[0])


@needs_slides
@pytest.mark.parametrize("path", [path for path in SLIDES if path.suffix == ".svs"], ids=lambda path: path.stem)
def test_the_two_backends_agree(path):
    ours, theirs = open_slide(path, backend="tiff"), open_slide(path, backend="openslide")
    assert (ours.size, ours.mpp, ours.vendor) == (theirs.size, theirs.mpp, theirs.vendor)
    assert sorted(ours.associated_images) == sorted(theirs.associated_images)
    for name in ours.associated_images:
        difference = ours.associated_image(name).astype(int) - theirs.associated_image(name)
        assert np.abs(difference).max() <= 1
    arguments = {"x": 1001.5, "y": 333.25, "width": 181, "height": 97}
    rectangle = ours.read_resized(*arguments.values(), (41, 60), with_mask=True)
    other = theirs.read_resized(*arguments.values(), (41, 60), with_mask=True)
    np.testing.assert_array_equal(rectangle.inside, other.inside)
    assert np.abs(rectangle.pixels.astype(int) - other.pixels).max() <= 1


@pytest.mark.skipif(not CROPS, reason="the OME-TIFF crops are not there")
@pytest.mark.parametrize("path", CROPS, ids=lambda path: path.stem)
def test_ome_tiff_that_openslide_refuses(path):
    slide = open_slide(path)
    assert (slide.backend, slide.vendor) == ("tiff", "ome-tiff")
    assert slide.mpp == pytest.approx((0.346, 0.346) if "vsi" in path.name else (0.227, 0.227), abs=5e-4)
    np.testing.assert_array_equal(slide.read(0, 0, *slide.size, level=0), tifffile.imread(path))
    with pytest.raises(UnsupportedSlideError, match=path.name):
        open_slide(path, backend="openslide")


@needs_slides
def test_facts_of_real_slides():
    aperio = open_slide(REAL / "CMU-1-Small-Region.svs")
    assert (aperio.vendor, aperio.mpp, aperio.size) == ("aperio", (0.499, 0.499), (2220, 2967))
    assert aperio.properties["aperio.AppMag"] == "20"
    assert set(aperio.associated_images) == {"label", "macro", "thumbnail"}
    hamamatsu = open_slide(REAL / "test3-DAPI-2-387.ndpi")
    assert (hamamatsu.backend, hamamatsu.vendor) == ("openslide", "hamamatsu")
    assert hamamatsu.mpp == pytest.approx((0.228, 0.228), abs=5e-4)


@needs_slides
def test_a_missing_resolution_is_an_error_that_says_how_to_give_it():
    path = REAL / "tcga-cr-7395-01a-01-ts1.svs"
    slide = open_slide(path)
    assert slide.mpp is None
    with pytest.raises(MissingResolutionError, match=r"tcga.*open_slide\(path, mpp="):
        slide.read(0, 0, 10, 10, mpp=0.5)
    assert slide.read(0, 0, 10, 10, level=0).shape == (10, 10, 3)
    assert open_slide(path, mpp=0.25).read(0, 0, 10, 10, mpp=0.5).shape == (10, 10, 3)


@pytest.mark.parametrize("resolution", [(72, 72), (0, 0)])
def test_an_image_editors_resolution_is_none(tmp_path, resolution):
    path = tmp_path / "slide.tif"
    write_pyramid(path, tissue_like(64, 64), mpp=None, resolution=resolution, resolutionunit="INCH")
    assert open_slide(path).mpp is None


def test_what_a_file_is_counts_not_its_name(tmp_path, jpeg):
    path = tmp_path / "slide.ndpi"
    path.write_bytes(jpeg[0].read_bytes())
    assert open_slide(path).backend == "tiff"
    with pytest.raises(UnsupportedSlideError, match="text.svs"):
        text = tmp_path / "text.svs"
        text.write_text("no slide")
        open_slide(text)
    with pytest.raises(FileNotFoundError, match="absent"):
        open_slide(tmp_path / "absent.svs")


# Steps below a level's own, at it, between levels, at and beyond the coarsest; whole and not.
@pytest.mark.parametrize("mpp", [0.1, 0.25, 0.26, 0.4999, 0.7, 1.0, 4.2])
def test_resampling_is_the_area_average(pyramid, mpp):
    path, levels = pyramid
    slide = open_slide(path)
    rng = np.random.default_rng(int(mpp * 1000))
    index = max((i for i in range(3) if slide.levels[i].downsample <= 1.01 * mpp / 0.25), default=0)
    downsample = slide.levels[index].downsample
    for _ in range(12):
        width, height = (int(v) for v in rng.integers(1, 90, 2))
        x, y = rng.uniform(-60, 700), rng.uniform(-60, 500)
        step = mpp / 0.25 / downsample
        expected = area_average(levels[index], x / downsample, y / downsample, step, height, width)
        read = slide.read(x, y, width, height, mpp=mpp)
        assert np.abs(read - expected).max() <= 0.5 + 1e-2


def test_a_resized_rectangle_may_be_squeezed(pyramid):
    path, levels = pyramid
    read = open_slide(path).read_resized(10.5, 20.25, 300, 90, (45, 60))
    # 5 across, 2 down: level 1 is the coarsest that is fine enough down.
    downsample = open_slide(path).levels[1].downsample
    step = 5 / downsample, 2 / downsample
    expected = area_average(levels[1], 10.5 / downsample, 20.25 / downsample, step, 45, 60)
    assert np.abs(read - expected).max() <= 0.5 + 1e-2


@pytest.mark.parametrize(
    ("mpp", "mean", "largest"), [(0.5, 0.3, 0.51), (1.05, 0.5, 6), (2.2, 0.4, 4), (4.2, 0.4, 3)]
)
def test_jpeg_decoded_small_is_the_area_average_but_for_a_grey_level_or_two(jpeg, mpp, mean, largest):
    path, pixels = jpeg
    read = open_slide(path).read(-8.0, 3.0, 200, 150, mpp=mpp)
    difference = np.abs(read - area_average(pixels, -8.0, 3.0, mpp / 0.25, 150, 200))
    assert difference.mean() <= mean
    assert difference.max() <= largest


def test_holes_are_background_and_the_mask_says_so(tmp_path):
    path = tmp_path / "slide.tif"
    pixels = tissue_like(300, 400)
    write_pyramid(path, pixels, compression="deflate", holes={(1, 1), (0, 3)})
    present = np.ones(pixels.shape[:2], bool)
    present[128:256, 128:256] = present[:128, 384:] = False
    expected = np.where(present[..., None], pixels, 255)
    region = open_slide(path).read(0, 0, 400, 300, level=0, with_mask=True)
    np.testing.assert_array_equal(region.inside, present)
    np.testing.assert_array_equal(region.pixels, expected)
    small = open_slide(path).read(-7, -5, 97, 74, mpp=1.1, with_mask=True)
    averaged = area_average(expected, -7, -5, 4.4, 74, 97)
    assert np.abs(small.pixels - averaged).max() <= 0.5 + 1e-2
    shares = 1 - area_average(np.dstack([~present * 255] * 3), -7, -5, 4.4, 74, 97)[..., 0] / 255
    clear = np.abs(shares - 0.5) > 1e-3
    np.testing.assert_array_equal(small.inside[clear], (shares >= 0.5)[clear])
    rgba = np.asarray(openslide.OpenSlide(path).read_region((0, 0), 0, (400, 300)))
    np.testing.assert_array_equal(rgba[..., 3] > 0, present)
    assert_averages_agree(open_slide(path, backend="openslide"), small)


def assert_averages_agree(slide, expected):
    region = slide.read(-7, -5, 97, 74, mpp=1.1, with_mask=True)
    np.testing.assert_array_equal(region.inside, expected.inside)
    assert np.abs(region.pixels.astype(int) - expected.pixels).max() <= 1


def test_a_read_in_one_piece_equals_its_parts(pyramid):
    slide = open_slide(pyramid[0])
    whole = slide.read(0, 0, 160, 120, mpp=1.3)
    step = 1.3 / 0.25
    for row in range(0, 120, 40):
        part = slide.read(33 * step, row * step, 50, 40, mpp=1.3)
        difference = whole[row : row + 40, 33:83].astype(int) - part
        assert np.abs(difference).max() <= 1


def test_far_outside_is_background_at_little_cost(pyramid):
    slide = open_slide(pyramid[0])
    region = slide.read(-1e7, -1e7, 64, 64, mpp=0.7, with_mask=True)
    assert (region.pixels == 255).all()
    assert not region.inside.any()
    edge = slide.read(0, -1e6, 8, 200_000, mpp=1.3)
    assert (edge[:190_000] == 255).all()
    assert (edge[-7_600:-7_000] != 255).any()


@pytest.mark.parametrize("arguments", [{"level": 0}, {"mpp": 0.25}])
def test_a_read_above_the_limit_is_refused_before_memory_is_taken(pyramid, arguments):
    slide = open_slide(pyramid[0])
    with pytest.raises(ReadTooLargeError, match=r"slide\.tif: a read of 400000 x 400000 px takes \d+ bytes"):
        slide.read(0, 0, 400_000, 400_000, **arguments)
    configure(read_limit_bytes=100_000)
    try:
        with pytest.raises(ReadTooLargeError, match="100000"):
            slide.read(0, 0, 200, 200, **arguments)
    finally:
        configure(read_limit_bytes=2**30)
    assert slide.read(0, 0, 200, 200, **arguments).shape == (200, 200, 3)


def test_a_sparse_slide_of_60000_pixels(tmp_path):
    """Two tiles of 14,000 are there; a thumbnail takes no more than they do, and level 0 at once is refused."""
    path = tmp_path / "slide.tif"
    here = {(0, 0), (100, 117)}
    dark = np.full((512, 512, 3), 40, np.uint8)
    tiles = (dark if (row, column) in here else None for row in range(118) for column in range(118))
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            tiles,
            shape=(60_000, 60_000, 3),
            dtype=np.uint8,
            tile=(512, 512),
            photometric="rgb",
            compression="jpeg",
            metadata=None,
        )
    slide = open_slide(path)
    with pytest.raises(ReadTooLargeError, match=r"takes \d{11} bytes"):
        slide.read(0, 0, 60_000, 60_000, level=0)
    region = slide.read_resized(0, 0, 60_416, 60_416, (236, 236), with_mask=True)  # half a tile to a pixel
    expected = np.zeros((236, 236), bool)
    for row, column in here:
        expected[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
    expected[:, 234:] = False  # the slide ends 96 columns into the 256 of pixel 234
    np.testing.assert_array_equal(region.inside, expected)
    assert (region.pixels[~region.inside][:, 0] > 150).all()
    assert (region.pixels[:2, :2] <= 41).all()


def test_a_slide_travels_by_pickle(pyramid):
    slide = open_slide(pyramid[0], mpp=0.5)
    copy = pickle.loads(pickle.dumps(slide))
    assert copy.mpp == (0.5, 0.5)
    np.testing.assert_array_equal(copy.read(5, 5, 40, 40, mpp=1.7), slide.read(5, 5, 40, 40, mpp=1.7))
    assert len(pickle.dumps(slide)) < 4000


def test_a_thumbnail_keeps_the_proportions(pyramid):
    assert open_slide(pyramid[0]).thumbnail(100).shape == (71, 100, 3)
    assert open_slide(pyramid[0]).thumbnail(10_000).shape == (531, 747, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0, "height": 5, "level": 0}, "at least 1 x 1 px, got 0 x 5"),
        ({"width": 5, "height": 5}, "either mpp or level"),
        ({"width": 5, "height": 5, "mpp": 1.0, "level": 0}, "either mpp or level"),
        ({"width": 5, "height": 5, "level": 3}, r"a level in \[0, 3\), got 3"),
        ({"width": 5, "height": 5, "mpp": float("nan")}, "an mpp above 0, got nan"),
        ({"width": 5, "height": 5, "level": 0, "x": float("inf")}, "a corner in pixels"),
    ],
)
def test_wrong_requests(pyramid, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_slide(pyramid[0]).read(**{"x": 0, "y": 0} | arguments)


def test_wrong_ways_to_open(pyramid):
    with pytest.raises(ValueError, match="got \"?'?fastest"):
        open_slide(pyramid[0], backend="fastest")
    with pytest.raises(ValueError, match="above 0, got 0"):
        open_slide(pyramid[0], mpp=0)
    with pytest.raises(KeyError, match="macro"):
        open_slide(pyramid[0]).associated_image("macro")
    assert issubclass(SlideError, ValueError)
    assert Path(open_slide(str(pyramid[0])).path) == pyramid[0]
