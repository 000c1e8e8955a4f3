import numpy as np
import pytest

from lsr_ext.inference.decoding import decode, fit_shift


def test_the_likeliest_class_without_a_shift():
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], (4, 5)).transpose(2, 0, 1)
    assert np.array_equal(decode(probabilities), probabilities.argmax(0))


@pytest.mark.parametrize("expected", [[0.9, 0.07, 0.03], [0.2, 0.5, 0.3], [1 / 3] * 3])
def test_the_shift_gives_classes_their_expected_areas(expected):
    # A diffuse prediction: no pixel is ever likeliest of a rare class.
    rng = np.random.default_rng(1)
    logits = np.log([0.9, 0.07, 0.03]) + rng.normal(0, 0.4, (20_000, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.bincount(probabilities.argmax(1), minlength=3)[2] < 20
    shift = fit_shift(probabilities, np.array(expected))
    found = decode(probabilities.T[:, None], shift).ravel()
    assert np.bincount(found, minlength=3) / len(found) == pytest.approx(expected, abs=0.005)
    assert shift.mean() == pytest.approx(0)


def test_two_classes_are_cut_at_the_quantile():
    p = np.random.default_rng(2).uniform(0.01, 0.4, 5_000)
    shift = fit_shift(np.stack([1 - p, p], 1), np.array([0.9, 0.1]))
    found = decode(np.stack([1 - p, p])[:, None], shift).ravel()
    agreement = (found == (p > np.quantile(p, 0.9))).mean()
    assert agreement > 0.998
