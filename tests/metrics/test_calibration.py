"""Predicted fractions beside the distribution that labels stand for."""

import numpy as np
import pytest
from scipy.stats import norm

from lsr_ext import CountDistribution
from lsr_ext.metrics import fraction_calibration

DISTRIBUTION = CountDistribution([[0.9, 0.1], [0.4, 0.6]], [[0.05, 0.05], [0.2, 0.0]], ["low", "high"], ["s", "t"])


def test_by_hand():
    fractions = np.array([[0.8, 0.2], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    found = fraction_calibration(fractions, np.array([0, 0, 1, -1]), DISTRIBUTION, bins=10)
    assert (found.labels, found.classes) == (("low", "high"), ("s", "t"))
    assert found.blocks.tolist() == [[2, 2], [1, 1]]
    np.testing.assert_allclose(found.mean, [[0.85, 0.15], [0.5, 0.5]])
    np.testing.assert_allclose(found.std, [[0.05, 0.05], [0, 0]])
    np.testing.assert_allclose(found.mean_absolute_error, [[0.05, 0.05], [0.1, 0.1]])
    np.testing.assert_allclose(found.overall_error, [0.2 / 3, 0.2 / 3])
    assert found.counts.sum(-1).tolist() == [[2, 2], [1, 1]]
    assert np.flatnonzero(found.counts[1, 0]).tolist() == [5]


def test_expected_histogram_is_the_normal_distributions():
    fractions = np.full((7, 2), 0.5)
    found = fraction_calibration(fractions, np.array([0] * 4 + [1] * 3), DISTRIBUTION, bins=4)
    np.testing.assert_allclose(found.expected.sum(-1), [[4, 4], [3, 3]])
    middle = np.diff(norm.cdf([0.25, 0.5, 0.75], 0.4, 0.2))
    outer = norm.cdf(0.25, 0.4, 0.2), norm.sf(0.75, 0.4, 0.2)
    np.testing.assert_allclose(found.expected[1, 0], 3 * np.array([outer[0], *middle, outer[1]]))
    # Without spread, all blocks are expected in the bin of the mean.
    np.testing.assert_allclose(found.expected[1, 1], [0, 0, 3, 0])


def test_a_mean_on_an_edge_belongs_to_the_bin_above():
    distribution = CountDistribution([[0.5]], [[0.0]])
    found = fraction_calibration([[0.5]], np.array([0]), distribution, bins=2)
    np.testing.assert_array_equal(found.expected, found.counts)


def test_fractions_that_follow_the_distribution_match_its_histogram():
    distribution = CountDistribution([[0.5]], [[0.1]])
    draws = np.random.default_rng(0).normal(0.5, 0.1, (20000, 1)).clip(0, 1)
    found = fraction_calibration(draws, np.zeros(20000, int), distribution)
    np.testing.assert_allclose(found.counts, found.expected, atol=5 * np.sqrt(found.expected.max()))
    np.testing.assert_allclose(found.mean_absolute_error, 0.1 * np.sqrt(2 / np.pi), rtol=0.02)


def test_labels_per_class_and_labels_without_blocks():
    fractions = np.array([[0.2, 0.7], [0.3, 0.6]])
    found = fraction_calibration(fractions, np.array([[0, 1], [-1, 1]]), DISTRIBUTION)
    assert found.blocks.tolist() == [[1, 0], [0, 2]]
    np.testing.assert_allclose(found.mean_absolute_error, [[0.7, np.nan], [np.nan, 0.05]])
    np.testing.assert_allclose(found.overall_error, [0.7, 0.05])


def test_errors():
    labels = np.zeros(2, int)
    with pytest.raises(ValueError, match=r"expected fractions \(N, 2\), got \(2, 3\)"):
        fraction_calibration(np.zeros((2, 3)), labels, DISTRIBUTION)
    with pytest.raises(ValueError, match=r"expected labels \(2,\) or \(2, 2\), got \(3,\)"):
        fraction_calibration(np.zeros((2, 2)), np.zeros(3, int), DISTRIBUTION)
    for bad in (1.1, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"expected fractions in \[0, 1\]"):
            fraction_calibration(np.full((2, 2), bad), labels, DISTRIBUTION)
    for bad in (-2, 2):
        with pytest.raises(ValueError, match=r"expected integer labels in \[-1, 2\)"):
            fraction_calibration(np.zeros((2, 2)), labels + bad, DISTRIBUTION)
    with pytest.raises(ValueError, match="at least one bin"):
        fraction_calibration(np.zeros((2, 2)), labels, DISTRIBUTION, bins=0)
