"""Scores of dots by class, and agreement of raters, worked by hand."""

import numpy as np
import pytest

from lsr_ext.metrics import DotSet, rater_agreement, score_dots
from lsr_ext.metrics.raters import hit_dots


def test_counts_per_class_by_hand():
    a = DotSet([[0, 0], [10, 0], [50, 50]], ["t", "t", "b"])
    b = DotSet([[1, 0], [10, 1], [20, 0], [50, 50]], ["t", "b", "t", "t"])
    scores = score_dots(a, b, 5)
    assert scores.classes == ("b", "t")
    assert (scores.tp.tolist(), scores.fp.tolist(), scores.fn.tolist()) == ([0, 1], [1, 1], [1, 2])
    np.testing.assert_allclose(scores.precision, [0, 1 / 2])
    np.testing.assert_allclose(scores.recall, [0, 1 / 3])
    np.testing.assert_allclose(scores.f1, [0, 2 / 5])
    np.testing.assert_allclose(scores.pooled().f1, [2 / (2 + 2 + 3)])


def test_sums_over_images():
    classes = ("t", "b", "none")
    image = score_dots(DotSet([[0, 0]], ["t"]), DotSet([[1, 0]], ["t"]), 5, classes)
    empty = score_dots(DotSet([]), DotSet([[1, 0]], ["b"]), 5, classes)
    both = image + empty
    np.testing.assert_array_equal(both.f1, [1, 0, np.nan])
    np.testing.assert_array_equal(both.precision, [1, np.nan, np.nan])
    np.testing.assert_array_equal(both.recall, [1, 0, np.nan])
    with pytest.raises(ValueError, match="expected scores of the classes"):
        image + score_dots(DotSet([]), DotSet([]), 5, ("t",))


def test_confidence_first_uses_the_detections_scores():
    a = DotSet([[0, 0], [4, 0]], scores=[0.1, 0.9])
    b = DotSet([[3, 0], [8, 0]])
    assert score_dots(a, b, 5, method="confidence_first").tp.tolist() == [1]
    with pytest.raises(ValueError, match="scores go with 'confidence_first'"):
        score_dots(b, a, 5, method="confidence_first")


def test_a_class_left_out_is_an_error():
    dots = DotSet([[0, 0], [1, 1]], ["t", "b"], source="rater.csv", rows=[2, 3])
    with pytest.raises(ValueError, match=r"expected dots of the classes \('t',\), got 'b' in rater.csv, row 3"):
        score_dots(dots, dots, 5, ("t",))


def test_agreement_of_three_raters_by_hand():
    # Two images. Class t: A and B agree on both dots, C marks one of them; class b: only C marks any.
    raters = {
        "A": [DotSet([[0, 0]], ["t"]), DotSet([[5, 5]], ["t"])],
        "B": [DotSet([[3, 4]], ["t"]), DotSet([[5, 6]], ["t"])],
        "C": [DotSet([[0, 1]], ["t"]), DotSet([[90, 90]], ["b"])],
    }
    agreement = rater_agreement(raters, 5)
    assert agreement.classes == ("b", "t")
    assert agreement.pairs == (("A", "B"), ("A", "C"), ("B", "C"))
    np.testing.assert_allclose(agreement.f1, [[np.nan, 1], [0, 2 / 3], [0, 2 / 3]])
    np.testing.assert_allclose(agreement.mean_f1, [0, 7 / 9])
    assert agreement.average == pytest.approx(7 / 18)


def test_agreement_needs_two_raters_of_the_same_images():
    one = [DotSet([[0, 0]])]
    for raters in ({"A": one}, {"A": one, "B": one * 2}, {"A": [], "B": []}):
        with pytest.raises(ValueError, match="expected at least two raters of the same images"):
            rater_agreement(raters, 5)


def test_the_dots_that_are_hit_are_those_that_match():
    found = DotSet([[0, 0], [10, 0]], ["t", "b"])
    truth = DotSet([[9, 0], [1, 0], [10, 1]], ["t", "t", "b"])
    assert hit_dots(found, truth, 3, ("t", "b")).tolist() == [False, True, True]
    scored = DotSet([[0, 0], [2, 0]], scores=[0.1, 0.9])
    assert hit_dots(scored, DotSet([[1, 0]]), 3, ("cell",), "confidence_first").tolist() == [True]
