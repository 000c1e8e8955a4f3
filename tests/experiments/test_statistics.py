import statistics

import numpy as np
import pytest
from scipy.stats import ttest_rel

from lsr_ext.experiments.statistics import gap_closed, paired_difference, summarise

FIRST = {0: 0.71, 1: 0.70, 2: 0.65, 3: 0.68, 4: 0.74}
SECOND = {0: 0.65, 1: 0.60, 2: 0.67, 3: 0.61, 4: 0.66}


def test_mean_and_sample_deviation():
    summary = summarise(list(FIRST.values()))
    assert summary.n == 5
    assert summary.mean == pytest.approx(statistics.mean(FIRST.values()))
    assert summary.std == pytest.approx(statistics.stdev(FIRST.values()))


def test_one_value_has_no_deviation_and_none_no_mean():
    assert (summarise([0.5]).mean, summarise([0.5]).std) == (0.5, None)
    assert (summarise([]).n, summarise([]).mean) == (0, None)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_that_of_the_paired_t_test(confidence):
    expected = ttest_rel(list(FIRST.values()), list(SECOND.values())).confidence_interval(confidence)
    difference = paired_difference(FIRST, SECOND, confidence)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))
    assert difference.mean == pytest.approx(np.mean(list(FIRST.values())) - np.mean(list(SECOND.values())))


def test_seeds_are_paired_by_number_and_only_where_both_have_one():
    shuffled = {seed: SECOND[seed] for seed in (3, 1, 0, 4, 2)} | {9: 0.0}
    assert paired_difference(FIRST, shuffled) == paired_difference(FIRST, SECOND)


def test_too_few_common_seeds_have_no_interval():
    one = paired_difference({0: 0.5, 1: 0.6}, {1: 0.4, 2: 0.1})
    assert (one.n, one.mean, one.low, one.high) == (1, pytest.approx(0.2), None, None)
    assert paired_difference({0: 0.5}, {1: 0.5}).mean is None


def test_a_confidence_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"confidence in \(0, 1\), got 95"):
        paired_difference(FIRST, SECOND, 95)


def test_the_share_of_the_gap_is_a_ratio_of_means_over_common_seeds():
    low, full = {0: 0.2, 1: 0.4}, {0: 0.6, 1: 0.8, 2: 1.0}
    assert gap_closed({0: 0.5, 1: 0.7}, low, full) == pytest.approx(0.75)
    assert gap_closed({0: 0.5, 2: 0.9}, low, full) == pytest.approx(0.75)
    assert gap_closed(low, low, full) == 0
    assert gap_closed({0: 0.1, 1: 0.3}, low, full) == pytest.approx(-0.25)


def test_there_is_no_share_without_a_gap():
    assert gap_closed({0: 0.5}, {0: 0.6}, {0: 0.6}) is None
    assert gap_closed({0: 0.5}, {1: 0.2}, {0: 0.6}) is None
