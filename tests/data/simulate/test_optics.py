"""Colours of mixed stains against the Beer-Lambert law by hand, and scikit-image's unmixing of three."""

import math

import numpy as np
import pytest
from skimage.color import separate_stains

from lsr_ext.data.simulate import HAEMATOXYLIN_RGB, STAIN_RGB, STAIN_VECTORS, beer_lambert, optical_density
from lsr_ext.data.simulate.optics import jitter_stains, scan


@pytest.mark.parametrize("concentration", [0.0, 0.3, 1.0, 2.0])
def test_one_stain_dims_light_exponentially(concentration):
    rgb = beer_lambert([concentration], np.array([[0.2, 0.7, 1.1]]))
    expected = [255 * math.exp(-concentration * density) for density in (0.2, 0.7, 1.1)]
    np.testing.assert_allclose(rgb, expected)
    np.testing.assert_allclose(optical_density(rgb), np.multiply(concentration, [0.2, 0.7, 1.1]), atol=1e-12)


def test_stains_at_concentration_one_have_their_standard_colours():
    np.testing.assert_allclose(beer_lambert(np.eye(6), STAIN_VECTORS), np.vstack([STAIN_RGB, HAEMATOXYLIN_RGB]))


def test_scikit_image_finds_the_concentrations_of_three_mixed_stains():
    vectors = STAIN_VECTORS[[1, 3, 5]]
    concentrations = np.random.default_rng(0).uniform(0.05, 1.0, (4, 5, 3))
    rgb = beer_lambert(concentrations, vectors) / 255
    # scikit-image gives densities over -ln(1e-6).
    found = separate_stains(rgb, np.linalg.inv(vectors)) * -math.log(1e-6)
    np.testing.assert_allclose(found, concentrations, rtol=1e-6)


def test_scan_rounds_to_grey_levels_and_adds_noise_of_the_stated_std():
    density = np.full((200, 200, 3), optical_density(128.4), np.float32)
    rng = np.random.default_rng(0)
    assert (scan(density, 0.0, None, rng) == 128).all()
    noisy = scan(density, 4.0, None, rng)
    assert noisy.std() == pytest.approx(4.0, rel=0.02)
    assert noisy.mean() == pytest.approx(128.4, abs=0.1)


def test_jpeg_changes_little_and_only_where_asked():
    density = np.full((16, 16, 3), 0.5, np.float32)
    density[4:9, 4:9] = 1.0
    plain = scan(density, 0.0, None, np.random.default_rng(0))
    packed = scan(density, 0.0, 85, np.random.default_rng(0))
    assert plain.shape == packed.shape
    assert 0 < np.abs(plain.astype(int) - packed).max() < 30


def test_jitter_is_none_at_zero_and_of_the_stated_size():
    vectors = np.ones((4000, 3))
    np.testing.assert_array_equal(jitter_stains(vectors, 0.0, np.random.default_rng(0)), vectors)
    jittered = np.log(jitter_stains(vectors, 0.2, np.random.default_rng(0)))
    # A strength of std 0.2 that the channels share, and 0.1 of their own.
    assert jittered.mean(axis=1).std() == pytest.approx(math.hypot(0.2, 0.1 / math.sqrt(3)), rel=0.05)
