"""What a source depends on beside its own section of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lsr_ext.config import HeldOutSplit


class RunContext(NamedTuple):
    """What a source depends on beside its own section of the configuration.

    Attributes:
        seed: of every draw.
        split: the held-out split that is scored.
        folder: for what runs of one seed on the same data share.
        accelerator: to train a classifier of labels on, as Lightning names it.
        validates: whether the validation split is wanted too, to validate on while training.
    """

    seed: int
    split: HeldOutSplit
    folder: Path
    accelerator: str
    validates: bool = False
