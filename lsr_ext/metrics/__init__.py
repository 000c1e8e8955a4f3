"""Scores of predicted class maps, of their regions and boundaries, and of dots."""

from lsr_ext.metrics.bootstrap import bootstrap_interval
from lsr_ext.metrics.boundary import boundary_band, boundary_iou, masked_scores, trimap_scores
from lsr_ext.metrics.calibration import FractionCalibration, fraction_calibration
from lsr_ext.metrics.counts import macro
from lsr_ext.metrics.dot_files import read_dots
from lsr_ext.metrics.dot_set import DotSet
from lsr_ext.metrics.dots import DotMatches, match_dots
from lsr_ext.metrics.dots_from_masks import dots_from_instances, dots_from_masks
from lsr_ext.metrics.map_files import open_label_map
from lsr_ext.metrics.overlap import OverlapScores, overlap_scores
from lsr_ext.metrics.raters import DotScores, RaterAgreement, rater_agreement, score_dots
from lsr_ext.metrics.region_table import RegionTable, find_regions
from lsr_ext.metrics.regions import CellScores, RegionMatches, match_regions, score_cells

__all__ = [
    "CellScores",
    "DotMatches",
    "DotScores",
    "DotSet",
    "FractionCalibration",
    "OverlapScores",
    "RaterAgreement",
    "RegionMatches",
    "RegionTable",
    "bootstrap_interval",
    "boundary_band",
    "boundary_iou",
    "dots_from_instances",
    "dots_from_masks",
    "find_regions",
    "fraction_calibration",
    "macro",
    "masked_scores",
    "match_dots",
    "match_regions",
    "open_label_map",
    "overlap_scores",
    "rater_agreement",
    "read_dots",
    "score_cells",
    "score_dots",
    "trimap_scores",
]
