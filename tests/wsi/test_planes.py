"""TIFFs beyond tiled 8-bit RGB, against the arrays that were written and tifffile."""

import numpy as np
import pytest
import tifffile
from slides import CASES, halved, needs_cases, tissue_like, write_ome_planes

from lsr_ext.wsi import CorruptSlideError, UnsupportedSlideError, open_slide

PIXELS = tissue_like(300, 420)


def whole(slide, level=0):
    width, height = slide.levels[level][:2]
    return slide.read(0, 0, width, height, level=level)


@needs_cases
def test_rgb_in_three_planes():
    slide = open_slide(CASES / "04_rgb_as_three_planes.ome.tif")
    planes = tifffile.imread(CASES / "04_rgb_as_three_planes.ome.tif")
    assert (slide.mpp, len(slide.levels)) == ((0.25, 0.25), 2)
    np.testing.assert_array_equal(whole(slide), np.moveaxis(planes, 0, -1))
    assert slide.read(150, 150, 1, 1, level=0).tolist() == [[[250, 40, 40]]]


@pytest.mark.parametrize(
    "channels", [None, {"Name": ["Red", "Green", "Blue"]}, {"Color": [-16776961, 16711935, 65535]}]
)
def test_planes_that_are_red_green_and_blue(tmp_path, channels):
    path = write_ome_planes(tmp_path / "a.ome.tif", np.moveaxis(PIXELS, -1, 0), channels)
    slide = open_slide(path)
    np.testing.assert_array_equal(whole(slide), PIXELS)
    np.testing.assert_array_equal(whole(slide, 1), PIXELS[::2, ::2])
    assert slide.background == (255, 255, 255)


def test_channels_are_shown_by_name_in_a_range(tmp_path):
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 4096, (4, 300, 420)).astype(np.uint16)
    path = write_ome_planes(tmp_path / "a.ome.tif", planes, {"Name": ["DAPI", "CD8", "PanCK", "PanCK"]})
    slide = open_slide(path, channels=["CD8", "DAPI", "3"], display_range=(100, 3000))
    expected = np.clip((planes[[1, 0, 3]].astype(float) - 100) / 2900, 0, 1) * 255
    assert np.abs(whole(slide) - np.moveaxis(expected, 0, -1)).max() <= 0.51
    assert (slide.background, slide.mpp, len(slide.levels)) == ((0, 0, 0), (0.25, 0.25), 2)
    one = open_slide(path, channels=["DAPI"], display_range=(0, 4095))
    grey = whole(one)
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()


def test_what_must_be_chosen_is_asked_for_and_no_other_reader_shows_something_else(tmp_path):
    planes = np.zeros((3, 300, 420), np.uint16)
    path = write_ome_planes(tmp_path / "a.ome.tif", planes, {"Name": ["DAPI", "CD8", "PanCK"]})
    with pytest.raises(
        UnsupportedSlideError, match=r"channels to show.* 'DAPI', 'CD8', 'PanCK'; got \[\]; .* column channels"
    ):
        open_slide(path, display_range=(0, 100))
    with pytest.raises(UnsupportedSlideError, match=r"got \['CD3'\]"):
        open_slide(path, channels=["CD3"], display_range=(0, 100))
    with pytest.raises(
        UnsupportedSlideError, match="display range for values of 16 bits.*open_slide.*column display_range"
    ):
        open_slide(path, channels=["CD8"])
    eight = write_ome_planes(tmp_path / "b.ome.tif", planes.astype(np.uint8), {"Name": ["DAPI", "CD8", "PanCK"]})
    with pytest.raises(UnsupportedSlideError, match="channels to show"):
        open_slide(eight)
    deep = tmp_path / "z.ome.tif"
    tifffile.imwrite(deep, np.zeros((5, 64, 64), np.uint8), ome=True, metadata={"axes": "ZYX"}, tile=(64, 64))
    with pytest.raises(UnsupportedSlideError, match=r"z\.ome\.tif: expected an image of one focal plane"):
        open_slide(deep)


def test_channels_of_imagej_and_qptiff_are_to_choose(tmp_path):
    planes = np.moveaxis(PIXELS, -1, 0)
    tifffile.imwrite(tmp_path / "imagej.tif", planes, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(UnsupportedSlideError, match=r"imagej\.tif: .* '0', '1', '2'"):
        open_slide(tmp_path / "imagej.tif")
    tag = "PerkinElmer-QPI-ImageDescription"
    about = f"<{tag}><Name>{{}}</Name><ImageType>{{}}</ImageType></{tag}>"
    options = {"photometric": "minisblack", "tile": (128, 128), "software": "PerkinElmer-QPI", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "q.tif") as tiff:
        for level, kind in enumerate(("FullResolution", "ReducedResolution")):
            for name, plane in zip(("DAPI", "CD8", "CK"), planes, strict=True):
                pixels = plane[:: 2**level, :: 2**level]
                tiff.write(pixels, subfiletype=level, description=about.format(name, kind), **options)
            if level == 0:
                small = {"photometric": "rgb", "software": "PerkinElmer-QPI", "metadata": None}
                tiff.write(halved(PIXELS), description=about.format("", "Thumbnail"), **small)
    with pytest.raises(UnsupportedSlideError, match="'DAPI', 'CD8', 'CK'"):
        open_slide(tmp_path / "q.tif")
    slide = open_slide(tmp_path / "q.tif", channels=["CK", "DAPI", "CD8"])
    np.testing.assert_array_equal(whole(slide), PIXELS[..., [2, 0, 1]])
    np.testing.assert_array_equal(whole(slide, 1), PIXELS[::2, ::2, [2, 0, 1]])


def test_one_grey_plane_has_its_name_and_no_other(tmp_path):
    grey = PIXELS[..., 1]
    path = write_ome_planes(tmp_path / "a.ome.tif", grey[None], {"Name": ["DAPI"]})
    np.testing.assert_array_equal(whole(open_slide(path, channels=["DAPI"]))[..., 2], grey)
    with pytest.raises(UnsupportedSlideError, match=r"'DAPI'; got \['CD8'\]"):
        open_slide(path, channels=["CD8"])


@pytest.mark.parametrize("channels", [("0", "1", "2"), ("2",)])
def test_planes_where_0_is_white(tmp_path, channels):
    path, planes = tmp_path / "a.tif", np.moveaxis(PIXELS, -1, 0)
    tifffile.imwrite(path, planes, photometric="miniswhite", tile=(128, 128), metadata=None)
    shown = whole(open_slide(path, channels=channels))
    np.testing.assert_array_equal(shown, 255 - np.broadcast_to(PIXELS[..., list(map(int, channels))], shown.shape))


def test_planes_of_several_kinds_of_pixels_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for kind in ("minisblack", "miniswhite"):
            tiff.write(PIXELS[..., 0], photometric=kind, tile=(128, 128), metadata=None)
    with pytest.raises(UnsupportedSlideError, match="expected planes of one kind of pixels"):
        open_slide(path, channels=["0", "1"])


def test_a_choice_that_changes_nothing_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(128, 128), metadata=None)
    for backend in ("auto", "tiff", "planes"):
        with pytest.raises(UnsupportedSlideError, match="no choice of channels"):
            open_slide(path, channels=["0"], backend=backend)
    with pytest.raises(UnsupportedSlideError, match="or of a range for 8-bit RGB"):
        open_slide(path, display_range=(0, 100), backend="tiff")
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256)
    tifffile.imwrite(path, PIXELS[..., 0], photometric="palette", colormap=palette, tile=(128, 128), metadata=None)
    with pytest.raises(UnsupportedSlideError, match="a palette and no choice"):
        open_slide(path, display_range=(0, 100))


def test_grey_pages_of_one_size_are_channels_to_choose(tmp_path):
    path, planes = tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (3, 256, 256)).astype(np.uint8)
    tifffile.imwrite(path, planes, photometric="minisblack", tile=(128, 128), metadata=None)
    with pytest.raises(UnsupportedSlideError, match="'0', '1', '2'"):
        open_slide(path)
    np.testing.assert_array_equal(whole(open_slide(path, channels=["2"]))[..., 0], planes[2])


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"photometric": "rgb"}, None),  # one strip
        ({"photometric": "rgb", "rowsperstrip": 7}, None),
        ({"photometric": "rgb", "rowsperstrip": 7, "compression": "lzw", "predictor": 2}, None),
        ({"photometric": "rgb", "tile": (64, 64), "compression": "webp", "compressionargs": {"level": 100}}, None),
        ({"photometric": "rgb", "tile": (64, 64), "compression": "zstd"}, None),
        ({"photometric": "rgb", "tile": (64, 64), "compression": "packbits"}, None),
        ({"photometric": "rgb", "tile": (64, 64), "planarconfig": "separate"}, None),
        ({"photometric": "rgb", "rowsperstrip": 11, "planarconfig": "separate"}, None),
        ({"photometric": "minisblack", "tile": (64, 64)}, "grey"),
        ({"photometric": "miniswhite", "tile": (64, 64)}, "inverted"),
        ({"photometric": "rgb", "tile": (64, 64), "extrasamples": ["unassalpha"]}, "alpha"),
    ],
)
def test_other_ways_to_store_pixels(tmp_path, options, shown):
    path, grey = tmp_path / "slide.tif", PIXELS[..., 1]
    array, expected = PIXELS, PIXELS
    if options.get("planarconfig"):
        array = np.moveaxis(PIXELS, -1, 0)
    if shown in ("grey", "inverted"):
        array, expected = grey, np.stack([grey if shown == "grey" else 255 - grey] * 3, axis=-1)
    if shown == "alpha":
        opacity = np.linspace(0, 255, 420).astype(np.uint8)[None].repeat(300, axis=0)
        array = np.dstack([PIXELS, opacity])
        weight = opacity[..., None] / 255
        expected = PIXELS * weight + 255 * (1 - weight)
    tifffile.imwrite(path, array, metadata=None, **options)
    slide = open_slide(path, mpp=0.5)
    assert slide.backend == "planes"
    assert np.abs(whole(slide) - expected.astype(float)).max() <= 0.51
    if shown != "alpha":  # what is mostly transparent counts as outside, as with OpenSlide
        halves = halved(expected).astype(int)
        assert np.abs(slide.read(0, 0, 210, 150, mpp=1.0).astype(int) - halves).max() <= 1


def test_16_bit_rgb_needs_a_range(tmp_path):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, PIXELS.astype(np.uint16) * 16, photometric="rgb", tile=(64, 64))
    with pytest.raises(UnsupportedSlideError, match="16 bits"):
        open_slide(path)
    assert np.abs(whole(open_slide(path, display_range=(0, 255 * 16))).astype(int) - PIXELS).max() == 0


def test_a_range_of_colours_is_none_of_the_opacity(tmp_path):
    path, opacity = tmp_path / "slide.tif", np.linspace(0, 65535, 420).astype(np.uint16)[None].repeat(300, axis=0)
    array = np.dstack([PIXELS.astype(np.uint16) * 16, opacity])
    options = {"photometric": "rgb", "tile": (64, 64), "extrasamples": ["unassalpha"], "metadata": None}
    tifffile.imwrite(path, array, **options)
    weight = opacity[..., None] / 65535
    region = open_slide(path, display_range=(0, 255 * 16)).read(0, 0, 420, 300, level=0, with_mask=True)
    assert np.abs(region.pixels - (PIXELS * weight + 255 * (1 - weight))).max() <= 0.51
    np.testing.assert_array_equal(region.inside, weight[..., 0] >= 0.5)


@needs_cases
def test_webp_tiles():
    slide = open_slide(CASES / "21_webp.tif")
    np.testing.assert_array_equal(whole(slide), tifffile.imread(CASES / "21_webp.tif"))


def test_damage_names_the_tile(tmp_path):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(64, 64), compression="zstd", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[0].dataoffsets[8], tiff.pages[0].databytecounts[8]  # of 7 x 5
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = bytes(size)
    path.write_bytes(content)
    slide = open_slide(path)
    with pytest.raises(CorruptSlideError, match=r"slide\.tif, level 0, tile \(1, 1\)"):
        whole(slide)
    np.testing.assert_array_equal(slide.read(0, 0, 64, 64, level=0), PIXELS[:64, :64])
    path.write_bytes(content[: offset + 1])
    with pytest.raises(CorruptSlideError):
        whole(open_slide(path))


@pytest.mark.parametrize("tag", ["TileWidth", "TileLength"])
def test_tiles_without_a_size_are_refused(tmp_path, tag):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(64, 64), compression="zstd", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags[tag].overwrite(0)
    with pytest.raises(CorruptSlideError, match=r"slide\.tif.*(tiles of some size|not a readable TIFF)"):
        open_slide(path)
