"""Where labelled blocks come from: a file per source, and what all are brought to."""

from lsr_ext.sources.prepare import prepare_data
from lsr_ext.sources.prepared import PreparedData

__all__ = ["PreparedData", "prepare_data"]
