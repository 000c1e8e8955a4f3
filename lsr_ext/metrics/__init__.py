"""Scores of predicted class maps and of dots."""

from lsr_ext.metrics.boundary import boundary_band, masked_scores
from lsr_ext.metrics.dots import DotMatches, match_dots
from lsr_ext.metrics.overlap import OverlapScores, overlap_scores

__all__ = ["DotMatches", "OverlapScores", "boundary_band", "masked_scores", "match_dots", "overlap_scores"]
