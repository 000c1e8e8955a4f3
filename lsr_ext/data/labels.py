"""Low-resolution labels from class fractions by quantisation, and the fractions that labels stand for."""

from collections.abc import Sequence

import numpy as np


def quantile_edges(fractions: np.ndarray, bins: int) -> np.ndarray:
    """Compute inner edges that divide the fractions of one class into bins of about equal count.

    Args:
        fractions: (N,) in [0, 1].
        bins: Z >= 2, the number of labels.

    Returns:
        float64 (Z-1,), strictly increasing, for `quantise_fractions`.

    Raises:
        ValueError: `bins` below 2, or too few distinct fractions, so that a bin stays empty.

    Example:
        >>> quantile_edges(np.array([0.1, 0.2, 0.6, 0.8]), bins=2).round(3).tolist()
        [0.4]
    """
    fractions = checked_fractions(fractions)
    if fractions.ndim != 1:
        raise ValueError(f"expected the fractions of one class, shape (N,), got {fractions.shape}")
    if bins < 2:
        raise ValueError(f"expected at least 2 bins, got {bins}")
    distinct = len(np.unique(fractions))
    if distinct < bins:
        raise ValueError(f"expected at least {bins} distinct fractions for {bins} bins, got {distinct}")
    edges = np.quantile(fractions, np.arange(1, bins) / bins)
    if len(np.unique(np.searchsorted(edges, fractions, side="right"))) < bins:
        raise ValueError(f"too many equal fractions: {bins} quantile bins leave one empty, edges {edges}")
    return edges


def quantise_fractions(fractions: np.ndarray, edges: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Turn fractions into labels: the label is the number of edges at or below the fraction.

    Args:
        fractions: (N,), or (N, L) for one label per class; in [0, 1].
        edges: (Z-1,) for (N,); L rows, which may differ in length, for (N, L). Strictly increasing.

    Returns:
        int64 labels, shaped as `fractions`, in [0, Z).

    Raises:
        ValueError: fractions outside [0, 1], edges that do not increase, or shapes that do not match.

    Example:
        >>> quantise_fractions(np.array([0.1, 0.5, 0.95]), edges=[0.25, 0.75]).tolist()
        [0, 1, 2]
    """
    fractions = checked_fractions(fractions)
    if fractions.ndim == 1:
        return np.searchsorted(_checked_edges(edges), fractions, side="right").astype(np.int64)
    if fractions.ndim != 2 or fractions.shape[1] != len(edges):
        raise ValueError(
            f"expected fractions (N,), or (N, L) with L rows of edges, got {fractions.shape} and {len(edges)}"
        )
    columns = [quantise_fractions(column, row) for column, row in zip(fractions.T, edges, strict=True)]
    return np.stack(columns, axis=1)


def expected_fractions(labels: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Blocks' expected class fractions by their labels.

    Where a class's label is unknown, the class has an equal share of what the known ones leave.

    Args:
        labels: int64 (N,), or (N, L) for one label per class; -1 = unknown.
        mean: (Z, L), the expected fraction of each class given the label, in [0, 1].

    Returns:
        float64 (N, L).

    Example:
        >>> expected_fractions(np.array([1, 0]), np.array([[0.9, 0.1], [0.4, 0.6]])).tolist()
        [[0.4, 0.6], [0.9, 0.1]]
    """
    labels = np.broadcast_to(labels.reshape(len(labels), -1), (len(labels), mean.shape[1]))
    known = labels >= 0
    fractions = np.where(known, mean[labels, np.arange(mean.shape[1])], 0.0)
    rest = np.clip(1 - fractions.sum(1, keepdims=True), 0, None)
    return np.where(known, fractions, rest / np.maximum((~known).sum(1, keepdims=True), 1))


def expected_area(labels: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The share of each class in all blocks of known label: float64 (L,) of sum 1.

    Args:
        labels: int64 (N,), or (N, L) for one label per class; -1 = unknown.
        mean: (Z, L), the expected fraction of each class given the label, in [0, 1].
    """
    known = (labels.reshape(len(labels), -1) >= 0).any(1)
    fractions = expected_fractions(labels[known], mean).mean(0)
    return fractions / fractions.sum()


def add_label_noise(fractions: np.ndarray, std: float, generator: np.random.Generator) -> np.ndarray:
    """Add the error of an annotator to fractions: Gaussian noise of `std`, clipped to [0, 1].

    Raises:
        ValueError: `std` is negative, or a fraction is outside [0, 1].

    Example:
        >>> add_label_noise(np.array([0.0, 0.4]), std=0.0, generator=np.random.default_rng(0)).tolist()
        [0.0, 0.4]
    """
    if not std >= 0:
        raise ValueError(f"expected a noise std of at least 0, got {std}")
    fractions = checked_fractions(fractions)
    return np.clip(fractions + generator.normal(0.0, std, fractions.shape), 0.0, 1.0)


def checked_fractions(fractions: np.ndarray) -> np.ndarray:
    """Convert fractions to float64; raise ValueError unless all are in [0, 1]."""
    fractions = np.asarray(fractions, dtype=np.float64)
    # This form rejects NaN too.
    if not np.all((fractions >= 0) & (fractions <= 1)):
        raise ValueError(f"expected fractions in [0, 1], got {fractions.min()} to {fractions.max()}")
    return fractions


def _checked_edges(edges: np.ndarray | Sequence[float]) -> np.ndarray:
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"expected strictly increasing edges, shape (Z-1,), got {edges}")
    return edges
