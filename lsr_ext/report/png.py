"""Figures as PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from lsr_ext.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_png(figure: Figure, dpi: int = 130) -> bytes:
    """The bytes of a PNG file of a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def write_figure(path: Path, figure: Figure, dpi: int = 130) -> None:
    """Write a figure into a PNG file."""
    write_atomically(path, figure_png(figure, dpi))
