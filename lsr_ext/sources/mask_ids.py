"""Which class each id of a mask is: masks come from elsewhere, and their ids have no names."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from lsr_ext.sources.training_data import TrainingData

_MOST_BLOCKS = 256
_CLEAR_DIFFERENCE = 0.1  # of fractions, on the mean over classes
_logger = logging.getLogger(__name__)


def bind_mask_ids(named: Sequence[str] | None, classes: Sequence[str]) -> np.ndarray:
    """The class index of each id 0, 1, ... of masks: int64, of the classes named, or of all in their order.

    Raises:
        ValueError: a name that is no class, or one named twice.
    """
    named = list(classes if named is None else named)
    if unknown := [name for name in named if name not in classes]:
        raise ValueError(f"data.mask_classes: expected classes among {list(classes)}, got {unknown[0]!r}")
    if len(set(named)) < len(named):
        raise ValueError(f"data.mask_classes: expected each class once, got {named}")
    _logger.info("masks: %s", ", ".join(f"id {index} is {name!r}" for index, name in enumerate(named)))
    return np.array([list(classes).index(name) for name in named])


def to_classes(mask: np.ndarray, class_of_id: np.ndarray, name: object) -> np.ndarray:
    """A mask of class indices, int64, of one of ids.

    Raises:
        ValueError: an id that is of no class.
    """
    if mask.size and not 0 <= mask.min() <= mask.max() < len(class_of_id):
        raise ValueError(
            f"{name}: expected class ids in [0, {len(class_of_id)}), got {mask.min()} to {mask.max()}"
        )
    return class_of_id[mask.astype(np.int64)]


def warn_of_other_order(data: TrainingData) -> None:
    """Say so where the held-out masks fit the blocks' labels far better with their classes in another order."""
    test = data.test
    if test.masks is None or not test.known.any():
        return
    rows = np.flatnonzero(test.known)
    sample = test.subset(rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_BLOCKS).astype(int))])
    labels = np.broadcast_to(sample.labels.reshape(len(sample), -1), (len(sample), len(test.classes)))
    mean = data.distribution.mean.numpy()
    expected = np.where(labels >= 0, mean[labels.clip(0), np.arange(len(test.classes))], np.nan)
    apart = np.abs(sample.fractions()[:, :, None] - expected[:, None])
    if np.isnan(apart).all(0).any():  # a class without labels fits as well as any
        return
    apart = np.nanmean(apart, axis=0)
    here, there = linear_sum_assignment(apart)
    as_named, at_best = np.diag(apart).mean(), apart[here, there].mean()
    if as_named - at_best < _CLEAR_DIFFERENCE:
        return
    other = ", ".join(
        f"{test.classes[i]!r} as {test.classes[j]!r}" for i, j in zip(here, there, strict=True) if i != j
    )
    _logger.warning(
        "the masks' classes may be in another order: their fractions are %.2f from what the labels say, and %.2f "
        "with %s; see data.mask_classes",
        as_named,
        at_best,
        other,
    )
