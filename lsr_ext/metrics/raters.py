"""Dots of two or more raters, or of a detector and a rater, scored class by class (section 3.1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import add

import numpy as np

from lsr_ext.metrics.counts import macro, ratio
from lsr_ext.metrics.dot_set import DotSet, class_names
from lsr_ext.metrics.dots import match_dots


@dataclass(frozen=True)
class DotScores:
    """Counts of matched and unmatched dots per class, int64 (L,): of one image, or summed over many images.

    Attributes:
        classes: their names.
        tp: matches. fp: dots of a without a match. fn: dots of b without a match.

    Example:
        >>> from lsr_ext.metrics import DotSet
        >>> scores = score_dots(DotSet([[0, 0], [9, 9]]), DotSet([[1, 0]]), radius=2)
        >>> scores.tp.tolist(), scores.fp.tolist(), scores.recall.tolist()
        ([1], [1], [1.0])
    """

    classes: tuple[str, ...]
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """tp / (tp + fp); NaN for a class without dots in a."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> np.ndarray:
        """tp / (tp + fn); NaN for a class without dots in b."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> np.ndarray:
        """2 tp / (2 tp + fp + fn); NaN for a class without dots on either side."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def pooled(self) -> DotScores:
        """The counts of all classes together, as one class."""
        return DotScores(("all",), *(count.sum(-1, keepdims=True) for count in (self.tp, self.fp, self.fn)))

    def __add__(self, other: DotScores) -> DotScores:
        if self.classes != other.classes:
            raise ValueError(f"expected scores of the classes {self.classes}, got {other.classes}")
        return DotScores(self.classes, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


@dataclass(frozen=True)
class RaterAgreement:
    """F1 of every pair of raters.

    Attributes:
        classes: names (L,). pairs: the names of the raters of each pair (P).
        f1: float64 (P, L), NaN where neither rater of a pair marked the class.

    Example:
        >>> from lsr_ext.metrics import DotSet
        >>> one, other = DotSet([[0, 0]]), DotSet([[1, 0]])
        >>> rater_agreement({"A": [one], "B": [other]}, radius=2).average
        1.0
    """

    classes: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    f1: np.ndarray

    @property
    def mean_f1(self) -> np.ndarray:
        """The mean over pairs, (L,): the first row of Table 3."""
        return macro(self.f1, axis=0)

    @property
    def average(self) -> float:
        """The mean of `mean_f1` over classes."""
        return float(macro(self.mean_f1))


def score_dots(
    a: DotSet,
    b: DotSet,
    radius: float,
    classes: Sequence[str] | None = None,
    method: str = "closest_first",
) -> DotScores:
    """Match the dots of each class with dots of the same class, by `match_dots`.

    Args:
        a: the detections, with scores for the method "confidence_first", or the first rater.
        b: the truth, or the second rater.
        radius: in the dots' unit; the paper's inter-rater agreement uses 10 px, about a cell's radius.
        classes: their names; None: those that occur in a or b.
        method: of `match_dots`.

    Raises:
        ValueError: as `match_dots` does, or a dot of a class that `classes` leaves out.

    Example:
        >>> from lsr_ext.metrics import DotSet
        >>> a, b = DotSet([[0, 0]], ["CD3"]), DotSet([[1, 0], [8, 8]], ["CD3", "CD8"])
        >>> scores = score_dots(a, b, radius=2)
        >>> scores.classes, scores.tp.tolist(), scores.fn.tolist()
        (('CD3', 'CD8'), [1, 0], [0, 1])
    """
    classes = class_names([a, b]) if classes is None else tuple(classes)
    a.check_classes(classes)
    b.check_classes(classes)
    counts = np.zeros((len(classes), 3), dtype=np.int64)
    for code, name in enumerate(classes):
        of_a, of_b = a.of_class(name), b.of_class(name)
        scores = of_a.scores if method == "confidence_first" else None
        matches = match_dots(of_a.xy, of_b.xy, radius, method, scores=scores)
        counts[code] = len(matches.pairs), len(matches.unmatched_a), len(matches.unmatched_b)
    return DotScores(classes, *counts.T)


def hit_dots(
    detections: DotSet, truth: DotSet, radius: float, classes: Sequence[str], method: str = "closest_first"
) -> np.ndarray:
    """Which true dots have a detection of their class: bool (D,), matched as `score_dots` does.

    Example:
        >>> hit_dots(DotSet([[0, 0]]), DotSet([[9, 9], [1, 0]]), radius=2, classes=("cell",)).tolist()
        [False, True]
    """
    is_hit = np.zeros(len(truth), dtype=bool)
    for name in classes:
        found = detections.of_class(name)
        scores = found.scores if method == "confidence_first" else None
        matches = match_dots(found.xy, truth.of_class(name).xy, radius, method, scores=scores)
        is_hit[np.flatnonzero(truth.classes == name)[matches.pairs[:, 1]]] = True
    return is_hit


def rater_agreement(
    raters: Mapping[str, Sequence[DotSet]],
    radius: float,
    classes: Sequence[str] | None = None,
    method: str = "closest_first",
) -> RaterAgreement:
    """F1 of every pair of raters, pooled over images; one rater's dots are the detections, the other's the truth.

    Args:
        raters: name -> their dots of every image, the images in the same order for all.
        radius, classes, method: as for `score_dots`.

    Raises:
        ValueError: fewer than two raters, or raters with different numbers of images.

    Example:
        >>> from lsr_ext.metrics import DotSet
        >>> raters = {"A": [DotSet([[0, 0], [9, 9]])], "B": [DotSet([[1, 0]])]}
        >>> round(rater_agreement(raters, radius=2).average, 3)
        0.667
    """
    lengths = {name: len(images) for name, images in raters.items()}
    if len(raters) < 2 or len(set(lengths.values())) > 1 or not all(lengths.values()):
        raise ValueError(f"expected at least two raters of the same images, got numbers of images {lengths}")
    if classes is None:
        classes = class_names(dots for images in raters.values() for dots in images)
    pairs = tuple(combinations(raters, 2))
    f1 = [
        reduce(
            add, (score_dots(a, b, radius, classes, method) for a, b in zip(raters[i], raters[j], strict=True))
        ).f1
        for i, j in pairs
    ]
    return RaterAgreement(tuple(classes), pairs, np.array(f1).reshape(len(pairs), len(classes)))
