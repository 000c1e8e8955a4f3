"""Dots with their classes, as raters mark them or detectors return them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lsr_ext.metrics.dots import check_coordinates, check_scores

DEFAULT_CLASS = "cell"


class DotSet:
    """The dots of one image.

    Args:
        xy: (D, 2) x and y, both in one unit; the origin is the top left corner of the image.
        classes: (D,) names; None: all are of the class "cell", as is a dot whose name is None or NaN.
        scores: (D,) confidence, for detections.
        source, rows: the file that the dots come from, and the row of each dot in it (D,), for error messages.

    Attributes:
        xy: float64 (D, 2). classes: str (D,). scores: float64 (D,), or None.

    Raises:
        TypeError, ValueError: as `match_dots` does, or numbers of dots, classes and scores that differ.

    Example:
        >>> dots = DotSet([[3.0, 4.0], [10.0, 2.5]], ["CD3", "CD8"])
        >>> dots.of_class("CD8").xy.tolist()
        [[10.0, 2.5]]
    """

    def __init__(
        self,
        xy: np.ndarray,
        classes: Sequence[str] | None = None,
        scores: Sequence[float] | None = None,
        *,
        source: str = "",
        rows: Sequence[int] | None = None,
    ) -> None:
        self.xy = check_coordinates(xy, "xy")
        names = [DEFAULT_CLASS] * len(self.xy) if classes is None else classes
        self.classes = np.asarray([DEFAULT_CLASS if _is_missing(name) else name for name in names], dtype=np.str_)
        if self.classes.shape != (len(self.xy),):
            raise ValueError(f"expected one class for each of {len(self.xy)} dots, got shape {self.classes.shape}")
        self.scores = None if scores is None else check_scores(scores, len(self.xy))
        self.source = source
        self.rows = np.arange(len(self.xy)) if rows is None else np.asarray(rows)

    def __len__(self) -> int:
        return len(self.xy)

    def of_class(self, name: str) -> DotSet:
        """Return the dots of one class."""
        member = self.classes == name
        scores = None if self.scores is None else self.scores[member]
        return DotSet(self.xy[member], self.classes[member], scores, source=self.source, rows=self.rows[member])

    def place(self, index: int) -> str:
        """Describe where a dot comes from, for error messages."""
        return f"{self.source}, row {self.rows[index]}" if self.source else f"row {self.rows[index]}"

    def check_classes(self, names: Sequence[str]) -> None:
        """Raise a ValueError for the first dot whose class is not among the names."""
        unknown = ~np.isin(self.classes, names)
        if unknown.any():
            index = int(unknown.argmax())
            found = str(self.classes[index])
            raise ValueError(f"expected dots of the classes {tuple(names)}, got {found!r} in {self.place(index)}")


def _is_missing(name: object) -> bool:
    """As tables write what they do not have: None, NaN, or pandas' NA, which equals nothing."""
    return name is None or (isinstance(name, float) and name != name) or type(name).__name__ == "NAType"


def class_names(sets: Iterable[DotSet]) -> tuple[str, ...]:
    """Return the classes that occur, sorted by name."""
    return tuple(sorted({str(name) for dots in sets for name in np.unique(dots.classes)}))
