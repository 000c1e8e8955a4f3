"""Prediction that has no preferred direction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Quarter turns, and whether the image is mirrored: the subgroups of the symmetries of a square.
_TURNS = {
    1: [(0, False)],
    2: [(0, False), (2, False)],
    4: [(quarters, False) for quarters in range(4)],
    8: [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)],
}
SYMMETRIES = tuple(_TURNS)


def predict_symmetric(image: Tensor, predict: Callable[[Tensor], Tensor], count: int = 8) -> Tensor:
    """The mean of the predictions of an image turned by quarters and mirrored, turned back.

    A network may shift every object by a few pixels: the fractions of a block stay the same, so block labels
    cannot prevent it. The mean over the symmetries of a square has no such direction.

    Args:
        image: (N, C, H, W).
        predict: (N, C, h, w) -> (N, L, h, w).
        count: 1: the image as it is; 2: also a half turn; 4: all quarter turns; 8: also their mirror images.

    Returns:
        (N, L, H, W).

    Raises:
        ValueError: another `count`.

    Example:
        >>> image = torch.arange(6.0).reshape(1, 1, 2, 3)
        >>> bool((predict_symmetric(image, lambda turned: turned) == image).all())
        True
    """
    if count not in _TURNS:
        raise ValueError(f"expected 1, 2, 4 or 8 symmetries, got {count}")

    def predict_turned(quarters: int, mirrored: bool) -> Tensor:
        if not quarters and not mirrored:
            return predict(image)  # without copies
        dims = [3] if mirrored else []
        turned = torch.rot90(image, quarters, (2, 3)).flip(dims)
        return torch.rot90(predict(turned).flip(dims), -quarters, (2, 3))

    first, *others = (predict_turned(*turn) for turn in _TURNS[count])
    return sum(others, first) / count if others else first
