"""Scores of predicted class maps."""

from lsr_ext.metrics.boundary import boundary_band, masked_scores
from lsr_ext.metrics.overlap import OverlapScores, overlap_scores

__all__ = ["OverlapScores", "boundary_band", "masked_scores", "overlap_scores"]
