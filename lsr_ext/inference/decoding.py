"""From class probabilities to a map of classes."""

from __future__ import annotations

import numpy as np

_ROUNDS, _TINY = 200, 1e-12


def decode(probabilities: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
    """The likeliest class of every pixel.

    Args:
        probabilities: (L, H, W).
        shift: (L,) added to the logarithms first.

    Returns:
        uint8 (H, W).
    """
    if shift is None:
        return _likeliest(probabilities)
    return _likeliest(np.log(probabilities + _TINY) + shift[:, None, None])


def _likeliest(values: np.ndarray) -> np.ndarray:
    """`argmax` over the classes, which lie far apart in memory: class by class is many times faster."""
    best, found = values[0], np.zeros(values.shape[1:], np.uint8)
    for index in range(1, len(values)):
        higher = values[index] > best
        np.maximum(found, higher * np.uint8(index), out=found)  # the last class that beats all before it
        best = np.maximum(best, values[index])
    return found


def fit_shift(probabilities: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The shift with which the likeliest classes have the expected areas.

    Where the network is unsure, a class of few pixels is hardly ever the likeliest, even if its mean probability
    is right; the shift weighs the classes so that it is.

    Args:
        probabilities: (P, L) of pixels to fit it on.
        expected: (L,) the share of each class among them.

    Returns:
        (L,) for `decode`, float64, of mean 0.
    """
    logits = np.log(probabilities.astype(np.float64) + _TINY)
    target = expected / expected.sum()
    shift = np.zeros(logits.shape[1])
    best, least = shift, np.inf
    step = 1.0
    for _ in range(_ROUNDS):
        share = np.bincount((logits + shift).argmax(1), minlength=len(target)) / len(logits)
        error = np.abs(share - target).sum()
        if error < least:
            best, least = shift, error
        # Half a pixel more on both sides, so that a class that is nowhere is pulled up by a finite step.
        half = 0.5 / len(logits)
        shift = shift + step * np.log((target + half) / (share + half))
        shift -= shift.mean()
        step *= 0.97
    return best
