"""Floating-point numbers too small for the usual exponent, which processors are many times slower with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let this thread, and those it starts, take denormal numbers for zero; afterwards this one does as before.

    The more decided a pixel, the smaller its gradient; a map that is decided nearly everywhere fills the backward
    pass with denormal numbers, to which the weights owe next to nothing.
    """
    before = denormals_are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def denormals_are_flushed() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return (torch.full((1,), 1e-40) * 1).item() == 0
