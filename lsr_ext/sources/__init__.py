"""Where labelled blocks come from: a file per source, and what all of them are brought to."""

from lsr_ext.sources.prepare import prepare_data
from lsr_ext.sources.training_data import TrainingBlocks, TrainingData

__all__ = ["TrainingBlocks", "TrainingData", "prepare_data"]
