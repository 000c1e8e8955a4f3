"""How well predicted fractions match the labels: a score that needs no pixel truth."""

from __future__ import annotations

import numpy as np

from lsr_ext.distributions import CountDistribution


def fraction_errors(
    fractions: np.ndarray, labels: np.ndarray, distribution: CountDistribution
) -> dict[str, float]:
    """Per label that occurs, how far the mean predicted fraction of its blocks is from the expected one.

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
    expected = distribution.mean.numpy()
    labels = np.broadcast_to(labels.reshape(len(labels), -1), fractions.shape)
    errors = {}
    for z, name in enumerate(distribution.labels):
        members = labels == z
        blocks = members.sum(0)
        if blocks.any():
            means = np.where(members, fractions, 0).sum(0, dtype=np.float64) / np.maximum(blocks, 1)
            errors[name] = float(np.abs(means - expected[z])[blocks > 0].mean())
    return errors


def map_fractions(maps: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of each class in maps of class ids (N, H, W): float64 (N, L)."""
    return np.stack([(maps == c).mean((1, 2)) for c in range(num_classes)], axis=1)
