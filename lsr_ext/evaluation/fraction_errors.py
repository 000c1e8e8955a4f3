"""How well predicted fractions match the labels: a score that needs no pixel truth."""

from __future__ import annotations

import numpy as np
import torch

from lsr_ext.distributions import CountDistribution
from lsr_ext.training import module


def fraction_errors(
    fractions: np.ndarray, labels: np.ndarray, distribution: CountDistribution
) -> dict[str, float]:
    """Per label that occurs, how far the mean predicted fraction of its blocks is from the expected one.

    It is what training logs of its batches.

    Args:
        fractions: (N, L) predicted.
        labels: (N,) or (N, L), -1 = unknown.
        distribution: expected fractions.

    Returns:
        label -> mean over classes of |mean over the label's blocks - expected|, in [0, 1].

    Example:
        >>> distribution = CountDistribution([[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.1]] * 2, ["low", "high"])
        >>> fractions = np.array([[0.8, 0.2], [0.9, 0.1], [0.5, 0.5]])
        >>> errors = fraction_errors(fractions, np.array([0, 0, 1]), distribution)
        >>> {name: round(error, 3) for name, error in errors.items()}
        {'low': 0.05, 'high': 0.1}
    """
    predicted = torch.from_numpy(np.asarray(fractions, np.float64))
    errors = module.fraction_errors(predicted, torch.from_numpy(labels), distribution.mean.double())
    return {distribution.labels[z]: error.item() for z, error in errors.items()}


def map_fractions(maps: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of each class in maps of class ids (N, H, W): float64 (N, L)."""
    return np.stack([(maps == c).mean((1, 2)) for c in range(num_classes)], axis=1)
