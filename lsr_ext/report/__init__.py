"""The report of a run in one HTML file, and tables and overlays of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext.report.html import write_report

__all__ = ["write_report"]

__getattr__, __dir__ = lazy_names(__name__, {"html": ["write_report"]})
