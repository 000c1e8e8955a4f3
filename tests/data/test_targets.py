"""Fractions of named columns as targets of classes."""

import numpy as np
import pytest

from lsr_ext.data import Targets


def test_columns_are_bound_by_name_and_one_class_is_what_is_left():
    fractions, std = np.array([[0.5, 0.25], [0.1, np.nan]]), np.array([[0.05, 0.1], [0.05, np.nan]])
    found = Targets.of_classes(fractions, std, ["c", "a"], ["a", "b", "c"])
    np.testing.assert_allclose(found.fractions, [[0.25, 0.25, 0.5], [np.nan, np.nan, 0.1]])
    np.testing.assert_allclose(found.std, np.float32([[0.1, np.nan, 0.05], [np.nan, np.nan, 0.05]]))
    alone = Targets.of_classes(fractions[:, :1], std[:, :1], ["a"], ["a", "b"])
    np.testing.assert_allclose(alone.fractions[:, 1], [0.5, 0.9])
    np.testing.assert_array_equal(alone.std[:, 1], alone.std[:, 0])  # of two that sum to 1
    independent = Targets.of_classes(fractions[:, :1], None, ["a"], ["a", "b"], exclusive=False)
    assert np.isnan(independent.fractions[:, 1]).all()


def test_sums_of_exclusive_classes_are_checked():
    named = ["a", "b"]
    with pytest.raises(ValueError, match=r"sum to 1\.1, expected at most 1"):
        Targets.of_classes(np.array([[0.5, 0.6]]), None, named, named)
    with pytest.warns(UserWarning, match=r"sum to less than 1 in 1 of 3 blocks, to 0\.6 at least"):
        Targets.of_classes(np.array([[0.3, 0.3], [0.4, 0.6], [0.1, np.nan]]), None, named, named)
    with pytest.raises(ValueError, match="fractions of 'c', which is none of the classes a, b"):
        Targets.of_classes(np.zeros((1, 1)), None, ["c"], named)
    with pytest.raises(ValueError, match="expected fractions of each class once, got a, a"):
        Targets.of_classes(np.zeros((1, 2)), None, ["a", "a"], named)


@pytest.mark.filterwarnings("error")
def test_fractions_that_need_not_sum_to_one_are_not_warned_of():
    fractions = np.array([[0.3, 0.3]])
    Targets.of_classes(fractions, None, ["a", "b"], ["a", "b"], exclusive=False)
    Targets.of_classes(fractions, None, ["a", "b"], ["a", "b", "c", "d"])
