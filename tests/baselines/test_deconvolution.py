"""Deconvolution against scikit-image, on known mixtures and on real Ki67 tiles."""

import ki67
import numpy as np
import pytest
from skimage import color, data

from lsr_ext.baselines import StainSet, deconvolution_map, deconvolve


@pytest.fixture(scope="module")
def ihc():
    return data.immunohistochemistry()[:256]


def mix(concentrations, stains):
    """Beer-Lambert: uint8 (H, W, 3) of optical densities (log10) along the stains' vectors, (H, W, K)."""
    return np.round(stains.background_rgb * 10 ** -(concentrations @ stains.vectors)).astype(np.uint8)


def test_three_stains_equal_rgb2hed(ihc):
    stains = StainSet.from_vectors(("haematoxylin", "eosin", "DAB"), color.rgb_from_hed)
    # scikit-image's vectors are not quite of length 1.
    expected = color.rgb2hed(ihc) * np.linalg.norm(color.rgb_from_hed, axis=1)
    found = deconvolve(ihc, stains)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_three_stains_equal_separate_stains():
    stains = StainSet(("a", "b", "c"), [[200, 40, 60], [60, 160, 200], [220, 190, 40]])
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = color.separate_stains(image, np.linalg.inv(stains.vectors))
    assert np.allclose(deconvolve(image, stains), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("matrix", "vectors"), [("hdx", color.rgb_from_hdx), ("gdx", color.rgb_from_gdx)])
def test_two_stains_equal_scikit_images_completed_matrices(ihc, matrix, vectors):
    stains = StainSet.from_vectors(("a", "b"), vectors[:2])
    expected = color.separate_stains(ihc, getattr(color, f"{matrix}_from_rgb"))[..., :2]
    assert np.allclose(
        deconvolve(ihc, stains), expected * np.linalg.norm(vectors[:2], axis=1), rtol=1e-5, atol=1e-7
    )


def test_one_stain_is_the_projection(ihc):
    vector = np.array([0.6, 0.0, 0.8])
    densities = -np.log(np.maximum(ihc / 255, 1e-6)) / -np.log(1e-6)
    found = deconvolve(ihc, StainSet.from_vectors(("a",), vector[None]))
    assert np.allclose(found[..., 0], densities @ vector, rtol=1e-5, atol=1e-7)


def test_a_background_that_is_not_white():
    stains = StainSet(("a", "b"), [[190, 40, 60], [60, 160, 190]], background_rgb=[230, 220, 200])
    amounts = np.random.default_rng(1).uniform(0, 0.6, (30, 30, 2))
    found = 6 * deconvolve(mix(amounts, stains), stains)
    assert np.abs(found - amounts).max() < 0.02


@pytest.mark.parametrize("preset", ["multiplex", "multiplex-haematoxylin"])
def test_a_pure_stain_of_many_is_found_alone(preset):
    stains = StainSet.preset(preset)
    count = len(stains.names)
    amounts = 0.8 * np.eye(count)[None]
    found = 6 * deconvolve(mix(amounts, stains), stains)[0]
    assert np.allclose(np.diag(found), 0.8, atol=0.03)
    assert found[~np.eye(count, dtype=bool)].max() < 0.05


def test_more_than_three_stains_are_the_least_over_triples():
    # Four well-spread stains, so that no triple is left out: brute force, one scikit-image call a triple.
    stains = StainSet(("a", "b", "c", "d"), [[40, 240, 240], [240, 40, 240], [240, 240, 40], [60, 55, 50]])
    image = np.random.default_rng(2).integers(1, 256, (300, 260, 3), dtype=np.uint8)
    expected = np.full((300, 260, 4), np.inf)
    for left_out in range(4):
        members = [stain for stain in range(4) if stain != left_out]
        found = color.separate_stains(image, np.linalg.inv(stains.vectors[members]))
        expected[..., members] = np.minimum(expected[..., members], found)
    assert np.allclose(deconvolve(image, stains), expected, rtol=1e-5, atol=1e-7)


def test_a_field_of_five_stains_and_a_counterstain():
    stains = StainSet.preset("multiplex-haematoxylin")
    rng = np.random.default_rng(3)
    truth = np.kron(rng.choice(7, (25, 25), p=[0.7] + [0.05] * 6), np.ones((8, 8), int))  # 6 = the counterstain
    amounts = np.eye(7)[truth][..., 1:] * rng.uniform(0.5, 1.1, (200, 200, 1))
    image = np.clip(mix(amounts, stains) + rng.normal(0, 3, (200, 200, 3)), 0, 255).astype(np.uint8)
    found = deconvolution_map(image, stains)
    assert found.dtype == np.uint8 and found.max() == 5
    truth[truth == 6] = 0
    for stain in range(1, 6):
        assert ki67.f1(found == stain, truth == stain) > 0.9


def test_a_threshold_is_a_concentration():
    stains = StainSet.preset("h-dab")
    amounts = np.zeros((2, 3, 2))
    amounts[0, :, 1] = 0.2, 0.5, 0.8  # DAB
    amounts[1, :, 0] = 0.2, 0.5, 0.8  # haematoxylin, a counterstain
    image = mix(amounts, stains)
    assert deconvolution_map(image, stains, threshold=0.4 / 6).tolist() == [[0, 1, 1], [0, 0, 0]]
    assert not deconvolution_map(image, stains, threshold=0.9 / 6).any()


def test_levels_of_zero_do_not_rule_the_threshold():
    stains = StainSet.preset("h-dab")
    amounts = np.zeros((50, 50, 2))
    amounts[10:20, 10:20, 1] = 0.8
    image = mix(amounts, stains)
    image[15, 15, 2] = 0
    assert np.array_equal(deconvolution_map(image, stains) == 1, amounts[..., 1] > 0)


def test_stains_that_cannot_be_told_apart():
    vectors = np.array([[0.6, 0.7, 0.3], [0.3, 0.6, 0.75]])
    mixed = StainSet.from_vectors(("a", "b", "c"), np.vstack([vectors, vectors.sum(0)]))
    with pytest.raises(ValueError, match="independent colours, got a, b, c"):
        deconvolve(np.zeros((2, 2, 3), np.uint8), mixed)
    with pytest.raises(ValueError, match="independent colours, got a, b"):
        deconvolve(np.zeros((2, 2, 3), np.uint8), StainSet.from_vectors(("a", "b"), vectors[[0, 0]]))


def test_images_of_another_kind():
    stains = StainSet.preset("h-dab")
    with pytest.raises(TypeError, match="uint8, got float64"):
        deconvolve(np.zeros((2, 2, 3)), stains)
    with pytest.raises(ValueError, match=r"\(H, W, 3\), got shape \(2, 2\)"):
        deconvolution_map(np.zeros((2, 2), np.uint8), stains)


@pytest.mark.skipif(not ki67.REAL.is_dir(), reason="needs ../shared/data")
def test_positive_nuclei_of_real_tiles():
    stains = StainSet.preset("h-dab")
    scores = [ki67.f1(deconvolution_map(image, stains) == 1, truth) for image, truth in ki67.read_tiles()]
    assert len(scores) == 4 and min(scores) > 0.6
    assert 0.69 < np.mean(scores) < 0.75
