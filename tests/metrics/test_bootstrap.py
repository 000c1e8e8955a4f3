"""Intervals against scipy's bootstrap and in cases that are known."""

import numpy as np
import pytest
from scipy import stats

from lsr_ext.metrics import OverlapScores, bootstrap_interval, macro
from lsr_ext.metrics.raters import DotScores
from lsr_ext.metrics.regions import CellScores


def images_of(tp, fp, fn):
    return [DotScores(("a",), *np.array([[t], [p], [n]])) for t, p, n in zip(tp, fp, fn, strict=True)]


def test_against_scipy():
    rng = np.random.default_rng(0)
    tp, fp, fn = rng.integers(5, 60, (3, 25))
    low, high = bootstrap_interval(images_of(tp, fp, fn), lambda s: s.f1, resamples=20000)

    def f1(tp, fp, fn, axis):
        return 2 * tp.sum(axis) / (2 * tp + fp + fn).sum(axis)

    expected = stats.bootstrap(
        (tp, fp, fn), f1, paired=True, vectorized=True, method="percentile", n_resamples=20000, rng=1
    ).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], expected, atol=5e-3)


def test_equal_images_leave_no_doubt():
    low, high = bootstrap_interval(images_of([3] * 5, [1] * 5, [2] * 5), lambda s: s.precision)
    assert low == high == [0.75]


def test_two_images_by_hand():
    # Resamples are {first, first}, {first, second} twice as often, {second, second}: F1 of 0, 1/2 and 1.
    images = images_of([0, 4], [4, 0], [4, 0])
    low, high = bootstrap_interval(images, lambda s: s.f1, confidence=0.4)
    assert (low[0], high[0]) == (0.5, 0.5)
    low, high = bootstrap_interval(images, lambda s: s.f1, confidence=0.9)
    assert (low[0], high[0]) == (0, 1)


def test_one_image_has_no_interval():
    low, high = bootstrap_interval(images_of([1], [1], [1]), lambda s: s.f1)
    assert np.isnan([low[0], high[0]]).all()


def test_absent_classes_have_none_and_rare_ones_one():
    counts = np.array([[3, 0, 0], [2, 1, 0], [3, 0, 0]])
    images = [DotScores(("a", "rare", "absent"), row, 0 * row, row) for row in counts]
    low, high = bootstrap_interval(images, lambda s: s.f1)
    np.testing.assert_allclose(low, [2 / 3, 2 / 3, np.nan])
    np.testing.assert_allclose(high, [2 / 3, 2 / 3, np.nan])


def test_every_kind_of_score_and_scalar_statistics():
    cells = [CellScores(("a", "b"), *np.full((4, 2), n)) for n in (1, 2)]
    assert bootstrap_interval(cells, lambda s: s.pooled().f1())[0].tolist() == [1]
    assert bootstrap_interval(cells, lambda s: macro(s.f1("dot_weighted")))[0] == 1
    overlap = [OverlapScores(*np.full((3, 2), n)) for n in (1, 2)]
    assert bootstrap_interval(overlap, lambda s: s.iou)[1].tolist() == [1 / 3, 1 / 3]


def test_the_seed_decides():
    rng = np.random.default_rng(0)
    images = images_of(*rng.integers(0, 9, (3, 10)))
    first, again = (bootstrap_interval(images, lambda s: s.f1, seed=1, resamples=50) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_errors():
    with pytest.raises(ValueError, match="at least one image, got none"):
        bootstrap_interval([], lambda s: s.f1)
    images = images_of([1, 1], [1, 1], [1, 1])
    for options in ({"confidence": 1}, {"confidence": 0}, {"resamples": 0}):
        with pytest.raises(ValueError, match=r"expected a confidence in \(0, 1\)"):
            bootstrap_interval(images, lambda s: s.f1, **options)
    other = DotScores(("b",), *np.ones((3, 1), int))
    with pytest.raises(ValueError, match=r"expected images of the same classes, got \('a',\)"):
        bootstrap_interval([*images, other], lambda s: s.f1)
