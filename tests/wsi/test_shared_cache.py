"""OpenSlide's own tiles of all slides together stay within one budget."""

import openslide
import pytest
from slides import tissue_like, write_pyramid

from lsr_ext.wsi import configure, handles, open_slide


def test_all_slides_share_one_cache_of_the_budget(tmp_path, monkeypatch):
    made, given = [], []
    real = openslide.OpenSlideCache
    monkeypatch.setattr(openslide, "OpenSlideCache", lambda size: made.append(size) or real(size))
    original = openslide.OpenSlide.set_cache
    monkeypatch.setattr(
        openslide.OpenSlide, "set_cache", lambda self, cache: given.append(cache) or original(self, cache)
    )
    configure(cache_bytes=3 * 2**20)  # a budget that no cache has yet
    try:
        for i in range(5):
            write_pyramid(tmp_path / f"{i}.tif", tissue_like(128, 128, seed=i))
            open_slide(tmp_path / f"{i}.tif", backend="openslide").read(0, 0, 9, 9, level=0)
    finally:
        configure(cache_bytes=handles.DEFAULT_CACHE_BYTES)
    assert made == [3 * 2**20]
    assert len(given) == 5 and len(set(map(id, given))) == 1


def test_an_orientation_that_no_reader_applies_is_refused(tmp_path):
    tags = [(274, "H", 1, 6, True)]
    write_pyramid(tmp_path / "a.tif", tissue_like(128, 128), extratags=tags)
    with pytest.raises(ValueError, match=r"a\.tif: expected rows from the top"):
        open_slide(tmp_path / "a.tif")
