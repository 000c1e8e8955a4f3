"""Tissue on slides painted by hand, and fractions against a count of pixels."""

import numpy as np
import pytest
from scipy.ndimage import median_filter
from slides import CASES, REAL, needs_cases, write_pyramid

from lsr_ext.wsi import open_slide, tissue_fraction, tissue_mask
from lsr_ext.wsi.tissue import TissueMask

GLASS, PINK, PURPLE, BROWN, INK = (243, 242, 240), (225, 160, 195), (120, 70, 150), (140, 95, 60), (20, 20, 50)


@pytest.fixture
def painted(tmp_path):
    """Builds a slide of glass with grain and rectangles (x, y, width, height, colour) on it."""

    def paint(*rectangles, colour=GLASS):
        pixels = np.empty((768, 1024, 3))
        pixels[:] = colour
        for x, y, width, height, paint_colour in rectangles:
            pixels[y : y + height, x : x + width] = paint_colour
        pixels += np.random.default_rng(0).normal(0, 2, pixels.shape)
        write_pyramid(tmp_path / "slide.tif", pixels.clip(0, 255).astype(np.uint8), compression="deflate", mpp=4.0)
        return open_slide(tmp_path / "slide.tif")

    return paint


@pytest.mark.parametrize("colour", [PINK, PURPLE, BROWN])
def test_every_stain_is_found_and_glass_is_not(painted, colour):
    mask = tissue_mask(painted((200, 100, 400, 300, colour))).mask
    truth = np.zeros((768, 1024), bool)
    truth[100:400, 200:600] = True
    assert np.mean(mask == truth) > 0.995


def test_dust_and_ink_are_left_out_and_pinholes_filled(painted):
    slide = painted(
        (200, 100, 400, 300, PINK), (800, 600, 5, 5, PURPLE), (700, 50, 200, 60, INK), (400, 200, 6, 6, GLASS)
    )
    mask = tissue_mask(slide).mask
    assert not mask[590:620, 790:820].any()
    assert not mask[52:108, 702:898].any()
    assert mask[195:210, 395:410].all()


def test_glass_alone_has_no_tissue_and_tissue_alone_no_glass(painted):
    assert tissue_mask(painted()).mask.mean() < 0.001
    both = painted((0, 0, 500, 768, PURPLE), colour=PINK)
    assert tissue_mask(both).mask.mean() > 0.99


def test_fractions_are_counts_of_pixels(painted):
    slide = painted((256, 256, 256, 256, PURPLE))
    rectangles = [(256, 256, 256, 256), (128, 256, 256, 256), (0, 0, 100, 100), (900, 700, 1000, 1000)]
    assert tissue_fraction(slide, rectangles) == pytest.approx([1.0, 0.5, 0.0, 0.0], abs=0.02)


def test_fractions_of_parts_of_pixels_are_exact():
    mask = np.random.default_rng(0).random((7, 9)) > 0.5
    tissue = TissueMask(mask, (90, 70))  # ten level-0 pixels to one of the mask
    fine = np.kron(mask, np.ones((10, 10)))
    rectangles = [
        (0, 0, 90, 70),
        (3, 4, 15, 22),
        (81, 66, 9, 4),
        (13, 27, 1, 1),
        (80, 60, 20, 20),
        (-5, -5, 10, 10),
    ]
    expected = [
        fine[max(y, 0) : y + height, max(x, 0) : x + width].sum() / (width * height)
        for x, y, width, height in rectangles
    ]
    assert tissue.fractions(rectangles) == pytest.approx(expected)
    with pytest.raises(ValueError, match="with an area"):
        tissue.fractions([(0, 0, 0, 5)])


@pytest.mark.skipif(not REAL.is_dir(), reason="the real slides are not there")
def test_real_slides():
    aperio = tissue_mask(open_slide(REAL / "CMU-1-Small-Region.svs"))
    assert 0.2 < aperio.mask.mean() < 0.95
    assert tissue_mask(open_slide(REAL / "ome_tiff_crops" / "OS-1-detail.ome.tif")).mask.mean() > 0.6


PALE, DAB = (205, 212, 228), (120, 72, 40)
BLUE_PEN, GREEN_PEN, RED_PEN = (30, 60, 190), (20, 140, 70), (205, 20, 35)


@needs_cases
def test_pale_tissue_beside_strong_stain_counts():
    slide = open_slide(CASES / "17_ihc_negative_beside_dab.tif")
    pixels = slide.read(0, 0, *slide.size, level=0)
    truth = median_filter(pixels.min(axis=2) < 225, 5)  # glass is 243 there
    assert np.mean(tissue_mask(slide).mask == truth) > 0.99


@pytest.mark.parametrize("strong", [DAB, PURPLE, BLUE_PEN, GREEN_PEN, RED_PEN])
@pytest.mark.parametrize("pale_side", [100, 300])
def test_pale_tissue_beside_any_strong_colour(painted, strong, pale_side):
    mask = tissue_mask(painted((600, 100, 300, 500, strong), (100, 100, pale_side, pale_side, PALE))).mask
    truth = np.zeros(mask.shape, bool)
    truth[100 : 100 + pale_side, 100 : 100 + pale_side] = True
    truth[100:600, 600:900] = strong in (DAB, PURPLE)
    assert np.mean(mask == truth) > 0.99


@pytest.mark.parametrize("pen", [BLUE_PEN, GREEN_PEN, RED_PEN, INK])
def test_pen_is_no_tissue_unless_it_is_kept(painted, pen):
    slide = painted((100, 100, 400, 300, PINK), (600, 100, 20, 500, pen), (600, 600, 300, 20, pen))
    assert not tissue_mask(slide).mask[:, 560:].any()
    assert tissue_mask(slide).mask[110:390, 110:490].all()
    if pen != INK:
        assert tissue_mask(slide, keep_pen=True).mask[200:500, 605:615].all()


@pytest.mark.parametrize("colour", [(40, 40, 160), (150, 20, 20), (90, 90, 90), (10, 50, 12)])
def test_what_shines_in_the_dark_is_tissue(painted, colour):
    mask = tissue_mask(painted((200, 100, 400, 300, colour), colour=(3, 3, 4))).mask
    truth = np.zeros((768, 1024), bool)
    truth[100:400, 200:600] = True
    assert np.mean(mask == truth) > 0.99


def test_a_threshold_of_ones_own(painted):
    slide = painted((200, 100, 400, 300, PINK), (700, 100, 200, 300, PALE))
    assert tissue_mask(slide, threshold=0.2).mask.mean() == pytest.approx(400 * 300 / (1024 * 768), rel=0.02)
    assert not tissue_mask(slide, threshold=0.9).mask.any()
    with pytest.raises(ValueError, match=r"expected a threshold in \[0, 1\], got 2"):
        tissue_mask(slide, threshold=2)
