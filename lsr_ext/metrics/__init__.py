"""Scores of predicted class maps and of dots."""

from lsr_ext.metrics.boundary import boundary_band, masked_scores
from lsr_ext.metrics.dot_set import DotSet
from lsr_ext.metrics.dots import DotMatches, match_dots
from lsr_ext.metrics.overlap import OverlapScores, overlap_scores
from lsr_ext.metrics.regions import CellScores, score_cells

__all__ = [
    "CellScores",
    "DotMatches",
    "DotSet",
    "OverlapScores",
    "boundary_band",
    "masked_scores",
    "match_dots",
    "overlap_scores",
    "score_cells",
]
