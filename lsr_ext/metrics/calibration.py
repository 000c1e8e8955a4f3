"""Compare predicted class fractions of blocks with the distributions of their labels, which the loss matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from lsr_ext.metrics.counts import ratio

if TYPE_CHECKING:
    from lsr_ext.distributions import CountDistribution


@dataclass(frozen=True)
class FractionCalibration:
    """Predicted fractions mu_k of blocks by label z and class l, beside N(eta, rho^2).

    Attributes:
        labels, classes: names (Z,) and (L,).
        blocks: int64 (Z, L), the number of blocks with each label; counted per class if labels are per class.
        eta, rho: float64 (Z, L), mean and standard deviation of the label's distribution.
        mean, std: float64 (Z, L), of the predicted fractions; NaN if a label has no blocks.
        mean_absolute_error: float64 (Z, L), mean of |mu_k - eta|. Fractions that followed the distribution exactly
            would have rho sqrt(2 / pi), not 0.
        edges: float64 (B + 1,) from 0 to 1.
        counts: int64 (Z, L, B), the histogram of mu_k.
        expected: float64 (Z, L, B), the expected histogram of N(eta, rho^2); its tails are in the outer bins.

    Example:
        >>> from lsr_ext import CountDistribution
        >>> distribution = CountDistribution([[0.9, 0.1]], [[0.1, 0.1]])
        >>> found = fraction_calibration(np.array([[0.8, 0.2]]), np.array([0]), distribution)
        >>> found.overall_error.round(3).tolist()
        [0.1, 0.1]
    """

    labels: tuple[str, ...]
    classes: tuple[str, ...]
    blocks: np.ndarray
    eta: np.ndarray
    rho: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    mean_absolute_error: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    expected: np.ndarray

    @property
    def overall_error(self) -> np.ndarray:
        """Mean absolute error of each class over the blocks of all labels, float64 (L,)."""
        error = np.where(self.blocks > 0, self.mean_absolute_error, 0)
        return ratio((error * self.blocks).sum(0), self.blocks.sum(0))


def fraction_calibration(
    fractions: np.ndarray, labels: np.ndarray, distribution: CountDistribution, bins: int = 20
) -> FractionCalibration:
    """Compare the predicted class fractions of blocks with the distributions of the blocks' labels.

    Args:
        fractions: (N, L) predicted, in [0, 1]: the mean over a block of the class probabilities.
        labels: (N,) in [0, Z) or -1 for unknown, or (N, L) one label per class.
        distribution: mean and standard deviation (Z, L).
        bins: number of bins B, of equal width over [0, 1].

    Raises:
        ValueError: shapes that do not match, fractions outside [0, 1], labels outside [-1, Z), or no bin.

    Example:
        >>> from lsr_ext import CountDistribution
        >>> distribution = CountDistribution([[0.9, 0.1], [0.5, 0.5]], [[0.1, 0.1], [0.1, 0.1]])
        >>> found = fraction_calibration(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1]), distribution)
        >>> found.mean_absolute_error.round(3).tolist()
        [[0.1, 0.1], [0.0, 0.0]]
    """
    eta, rho = (np.asarray(table, dtype=np.float64) for table in (distribution.mean, distribution.std))
    fractions, labels = np.asarray(fractions, dtype=np.float64), np.asarray(labels)
    if fractions.ndim != 2 or fractions.shape[1] != eta.shape[1]:
        raise ValueError(f"expected fractions (N, {eta.shape[1]}), got {fractions.shape}")
    if labels.shape not in (fractions.shape[:1], fractions.shape):
        raise ValueError(f"expected labels {fractions.shape[:1]} or {fractions.shape}, got {labels.shape}")
    # This form rejects NaN too; a sum of probabilities may round to just above 1.
    if not np.all((fractions >= -1e-6) & (fractions <= 1 + 1e-6)):
        raise ValueError(f"expected fractions in [0, 1], got {fractions.min()} to {fractions.max()}")
    if labels.size and (labels.dtype.kind not in "iu" or labels.min() < -1 or labels.max() >= len(eta)):
        raise ValueError(f"expected integer labels in [-1, {len(eta)}), got {labels.dtype} up to {labels.max()}")
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}")
    labels = np.broadcast_to(labels.reshape(len(fractions), -1), fractions.shape)
    edges = np.linspace(0, 1, bins + 1)
    blocks, mean, std, error = np.zeros(eta.shape, np.int64), *np.full((3, *eta.shape), np.nan)
    counts = np.zeros((*eta.shape, bins), np.int64)
    for z, c in np.ndindex(*eta.shape):
        members = fractions[labels[:, c] == z, c].clip(0, 1)
        blocks[z, c] = len(members)
        counts[z, c] = np.histogram(members, edges)[0]
        if len(members):
            mean[z, c], std[z, c] = members.mean(), members.std()
            error[z, c] = np.abs(members - eta[z, c]).mean()
    return FractionCalibration(
        tuple(distribution.labels),
        tuple(distribution.classes),
        blocks,
        eta,
        rho,
        mean,
        std,
        error,
        edges,
        counts,
        blocks[..., None] * _normal_shares(edges, eta, rho),
    )


def _normal_shares(edges: np.ndarray, eta: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return the probability of each bin, (Z, L, B); with a std of 0 the bin of the mean has all of it."""
    distance = edges[1:-1] - eta[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        below = ndtr(distance / rho[..., None])
    # A fraction at an edge belongs to the bin above it.
    below = np.where(np.isnan(below), 0.0, below)
    ends = np.zeros((*eta.shape, 1)), np.ones((*eta.shape, 1))
    return np.diff(np.concatenate([ends[0], below, ends[1]], axis=-1), axis=-1)
