"""Files that are truncated after their first directory give errors, not fewer levels."""

import numpy as np
import pytest
import tifffile
from slides import REAL, tissue_like, write_pyramid

from lsr_ext.wsi import CorruptSlideError, open_slide


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}])
@pytest.mark.parametrize("sub_directories", [False, True])
def test_a_lost_level_is_an_error(tmp_path, options, sub_directories):
    path = tmp_path / "slide.tif"
    pixels = tissue_like(256, 256)
    settings = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path, **options) as tiff:
        tiff.write(pixels, subifds=1 if sub_directories else 0, **settings)
        tiff.write(pixels[::2, ::2], subfiletype=1, **settings)
    assert len(open_slide(path).levels) == 2
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[0]
        lost = first.pages[0] if sub_directories else tiff.pages[1]
        end = lost.offset
        assert end > max(first.dataoffsets)
    content = path.read_bytes()
    for size in (end - 1, end, end + 1, end + 20):
        path.write_bytes(content[:size])
        with pytest.raises(CorruptSlideError, match=r"slide\.tif.*in a file of"):
            open_slide(path, backend="tiff")


def test_directories_that_go_round_in_a_circle_end(tmp_path):
    path = tmp_path / "slide.tif"
    pixels = write_pyramid(path, tissue_like(128, 128), compression="deflate")[0]
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        place = page.offset + 2 + 12 * len(page.tags)
        start = page.offset
    with path.open("rb+") as file:
        file.seek(place)
        assert file.read(4) == bytes(4)
        file.seek(place)
        file.write(start.to_bytes(4, "little"))
    try:
        read = open_slide(path, backend="tiff").read(0, 0, 128, 128, level=0)
    except CorruptSlideError as error:
        assert "slide.tif" in str(error)
    else:
        np.testing.assert_array_equal(read, pixels)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real slides are not there")
def test_a_real_slide_without_its_second_level(tmp_path):
    content = (REAL / "tcga-cr-7395-01a-01-ts1.svs").read_bytes()
    with tifffile.TiffFile(REAL / "tcga-cr-7395-01a-01-ts1.svs") as tiff:
        end = tiff.pages[2].offset
    path = tmp_path / "slide.svs"
    path.write_bytes(content[: end + 10])
    with pytest.raises(CorruptSlideError, match=r"slide\.svs"):
        open_slide(path)
