"""Class maps of slides."""

import numpy as np
import pytest
import slides
import zarr

from lsr_ext.baselines import StainSet, l2_map
from lsr_ext.baselines.slide_maps import map_slides

STAINS = StainSet(("pink", "purple"), np.array([[220.0, 120, 190], [120, 60, 150]]))


def test_the_map_of_a_slide_is_that_of_its_pixels(tmp_path):
    pixels = slides.tissue_like(300, 1200)
    slides.write_pyramid(tmp_path / "slide.tif", pixels, compression=None, mpp=0.5)
    for _ in range(2):  # the second replaces the first
        shares = map_slides(tmp_path / "slide.tif", STAINS, 0.5, tmp_path / "out")
    found = zarr.open(str(tmp_path / "out" / "slide.zarr"), mode="r")
    assert np.array_equal(found[:], l2_map(pixels, STAINS))
    np.testing.assert_allclose(shares["slide"], np.bincount(found[:].ravel(), minlength=3) / found.size)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["slide.zarr"]


def test_a_failure_leaves_nothing(tmp_path):
    slides.write_pyramid(tmp_path / "slide.tif", slides.tissue_like(100, 100), compression=None, mpp=0.5)
    with pytest.raises(ValueError, match="expected a max_distance above 0"):
        map_slides(tmp_path / "slide.tif", STAINS, 0.5, tmp_path / "out", max_distance=-1)
    assert not list((tmp_path / "out").iterdir())
