"""Blocks whose label is a number: the fraction of each class, and how sure it is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_ROUNDING = 0.02  # of fractions that people write down


class Targets(NamedTuple):
    """Class fractions of N blocks, float32 (N, L), and their standard deviations, (N, L); NaN = unknown.

    Example:
        >>> targets = Targets.of_fractions(np.array([[0.25, 0.75], [0.5, 0.5]]))
        >>> targets.subset(np.array([0])).fractions.tolist()
        [[0.25, 0.75]]
    """

    fractions: np.ndarray
    std: np.ndarray

    @classmethod
    def of_fractions(cls, fractions: np.ndarray | None) -> Targets | None:
        """Of fractions (N, L) whose standard deviations are not known; None of None."""
        if fractions is None:
            return None
        return cls(fractions.astype(np.float32), np.full(fractions.shape, np.nan, np.float32))

    def check(self, shape: tuple[int, int]) -> None:
        """Raise a ValueError unless these are numbers in range, or NaN, of this shape (N, L)."""
        for name, values in (("fractions", self.fractions), ("std", self.std)):
            if values.shape != shape:
                raise ValueError(f"expected {name} {shape}, got {values.shape}")
            outside = (values < 0) | (values > 1)
            if outside.any():
                k, index = np.argwhere(outside)[0]
                raise ValueError(
                    f"{name} must lie in [0, 1] or be NaN, got {values[k, index]:g} for block {k}, class {index}"
                )

    def subset(self, indices: np.ndarray) -> Targets:
        """Those of some blocks."""
        return Targets(self.fractions[indices], self.std[indices])

    @classmethod
    def of_classes(
        cls,
        fractions: np.ndarray,
        std: np.ndarray | None,
        named: Sequence[str],
        classes: Sequence[str],
        exclusive: bool = True,
    ) -> Targets:
        """Bind columns to classes by their names. Others are unknown; where one is missing, it is what is left.

        Args:
            fractions: (N, F), NaN = unknown.
            std: (N, F); None: unknown.
            named: the F names.
            classes: the L names.
            exclusive: the classes exclude each other, so that fractions sum to 1.

        Raises:
            ValueError: a name that is no class or occurs twice, or fractions of more than 1 in all.

        Warns:
            UserWarning: exclusive classes whose fractions are all known sum to less than 1.

        Example:
            >>> Targets.of_classes(np.array([[0.25]]), None, ["b"], ["a", "b"]).fractions.tolist()
            [[0.75, 0.25]]
        """
        if unknown := [name for name in named if name not in classes]:
            raise ValueError(f"fractions of {unknown[0]!r}, which is none of the classes {', '.join(classes)}")
        if len(set(named)) < len(named):
            raise ValueError(f"expected fractions of each class once, got {', '.join(named)}")
        places = [list(classes).index(name) for name in named]
        found = np.full((2, len(fractions), len(classes)), np.nan)
        found[0][:, places] = fractions
        if std is not None:
            found[1][:, places] = std
        missing = [index for index in range(len(classes)) if index not in places]
        if exclusive:
            sums = np.nansum(found[0], axis=1)
            if sums.max(initial=0) > 1 + _ROUNDING:
                raise ValueError(f"fractions of exclusive classes sum to {sums.max():g}, expected at most 1")
            if len(missing) == 1:
                found[0][:, missing[0]] = np.clip(1 - found[0][:, places].sum(1), 0, 1)
                if len(places) == 1:
                    found[1][:, missing[0]] = found[1][:, places[0]]
            _warn_of_missing_class(found[0], classes)
        return cls(*found.astype(np.float32))


def _warn_of_missing_class(fractions: np.ndarray, classes: Sequence[str]) -> None:
    sums = fractions.sum(axis=1)  # NaN where one is unknown
    short = sums[sums < 1 - _ROUNDING]
    if len(short):
        warnings.warn(
            f"fractions of all classes, {', '.join(classes)}, exclude each other and sum to less than 1 in "
            f"{len(short)} of {len(sums)} blocks, to {short.min():g} at least: is a class missing?",
            stacklevel=3,
        )
