"""The report of a run or of slides in one HTML file, and tables and overlays of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext.report.html import write_report
    from lsr_ext.report.slides import write_slides_report

__all__ = ["write_report", "write_slides_report"]

# Those of slides need the extra [wsi].
_HOMES = {"html": ["write_report"], "slides": ["write_slides_report"]}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
