"""TIFFs of which a part is missing: nothing is read from them as if it were there."""

import os

import numpy as np
import pytest
import tifffile

from lsr_ext import wsi
from lsr_ext.data import read_mask
from lsr_ext.files import read_at
from lsr_ext.metrics.map_files import open_label_map

IDS = np.random.default_rng(0).integers(1, 5, (96, 90)).astype(np.uint8)
LAYOUTS = [
    {},
    {"rowsperstrip": 8},
    {"rowsperstrip": 8, "compression": "lzw"},
    {"rowsperstrip": 8, "compression": "packbits"},
    {"tile": (32, 32)},
    {"tile": (32, 32), "compression": "deflate"},
    {"tile": (32, 32), "compression": "lzw", "bigtiff": True},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_that_ends_early_is_refused_wherever_it_ends(tmp_path, layout):
    tifffile.imwrite(tmp_path / "a.tif", IDS, metadata=None, **layout)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), IDS)
    np.testing.assert_array_equal(open_label_map(tmp_path / "a.tif")[:], IDS)
    content = (tmp_path / "a.tif").read_bytes()
    for end in range(len(content) - 1, 8, -53):
        (tmp_path / "a.tif").write_bytes(content[:end])
        for read in (read_mask, open_label_map):
            with pytest.raises(ValueError, match=r"a\.tif"):
                read(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", ["TileOffsets", "TileByteCounts"])
def test_a_list_of_tiles_that_is_too_short_is_refused(tmp_path, tag):
    tifffile.imwrite(tmp_path / "a.tif", IDS, metadata=None, tile=(32, 32))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags[tag].overwrite(list(tiff.pages[0].tags[tag].value)[:-1])
    for read in (read_mask, open_label_map):
        with pytest.raises(ValueError, match="expected 9 strips or tiles"):
            read(tmp_path / "a.tif")


def test_tiles_that_were_left_out_are_zero(tmp_path):
    tiles = (IDS[y : y + 32, x : x + 32] if x != 32 else None for y in range(0, 96, 32) for x in range(0, 90, 32))
    tifffile.imwrite(tmp_path / "a.tif", tiles, shape=(96, 90), dtype="uint8", tile=(32, 32), metadata=None)
    found = read_mask(tmp_path / "a.tif")
    assert not found[:, 32:64].any()
    np.testing.assert_array_equal(found[:, :32], IDS[:, :32])


@pytest.fixture
def halved_reads(monkeypatch):
    """Reads that end after half of what was asked for, as those of network disks may."""
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, offset: pread(file, max(1, size // 2), offset))


def test_reads_in_parts_are_put_together(tmp_path, halved_reads):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    with (tmp_path / "a").open("rb") as file:
        assert read_at(file.fileno(), 30, 50) == bytes(range(50, 80))
        assert read_at(file.fileno(), 30, 90) == bytes(range(90, 100))
        assert read_at(file.fileno(), 0, 90) == b""


@pytest.mark.parametrize("layout", [{"tile": (32, 32), "compression": "deflate"}, {"rowsperstrip": 8}])
def test_slides_on_such_disks_are_read_right(tmp_path, halved_reads, layout):
    pixels = np.stack([IDS * 50] * 3, -1)
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata=None, **resolution, **layout)
    np.testing.assert_array_equal(wsi.open_slide(tmp_path / "a.tif").read(0, 0, 90, 96, level=0), pixels)
