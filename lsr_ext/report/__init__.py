"""The report of a run: scores, pictures and settings in one HTML file."""

from lsr_ext.report.html import write_report

__all__ = ["write_report"]
