"""A slide as an array of rows."""

import numpy as np
import pytest
import slides

from lsr_ext.baselines import StainSet, l2_map
from lsr_ext.baselines.slide_rows import SlideRows
from lsr_ext.wsi import MissingResolutionError, open_slide


@pytest.fixture
def slide(tmp_path):
    pixels = slides.tissue_like(700, 500)
    slides.write_pyramid(tmp_path / "a.tif", pixels, compression=None, mpp=0.5)
    return open_slide(tmp_path / "a.tif"), pixels


def test_rows_are_the_slides(slide):
    opened, pixels = slide
    rows = SlideRows(opened, 0.5)
    assert rows.shape == (700, 500, 3)
    assert np.array_equal(rows[100:228], pixels[100:228])
    assert np.array_equal(rows[690:800], pixels[690:])


def test_a_coarser_resolution_is_the_mean(slide):
    opened, pixels = slide
    rows = SlideRows(opened, 1.0)
    assert rows.shape == (350, 250, 3)
    means = pixels.reshape(350, 2, 250, 2, 3).mean((1, 3))
    assert np.abs(rows[30:90] - means[30:90]).max() <= 0.5


def test_l2_map_reads_it(slide):
    opened, pixels = slide
    stains = StainSet(("pink", "purple"), [[220, 120, 190], [120, 60, 150]])
    assert np.array_equal(l2_map(SlideRows(opened, 0.5), stains), l2_map(pixels, stains))


def test_what_is_refused(slide, tmp_path):
    opened, pixels = slide
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="an mpp above 0"):
            SlideRows(opened, wrong)
    with pytest.raises(ValueError, match="leaves at least one pixel"):
        SlideRows(opened, 1000)
    with pytest.raises(ValueError, match="neighbouring rows"):
        SlideRows(opened, 1.0)[::2]
    slides.write_pyramid(tmp_path / "b.tif", pixels, compression=None, mpp=None)
    with pytest.raises(MissingResolutionError):
        SlideRows(open_slide(tmp_path / "b.tif"), 1.0)
