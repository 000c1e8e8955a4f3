"""The baselines of the paper: separation of stains by colour, and pixel labels from it (section 3.1.4).

The patch classifier (Appendix C), which needs Lightning and MONAI, is in `patch_classifier` and `patch_training`.
"""

from lsr_ext.baselines.area_labels import area_label_map
from lsr_ext.baselines.colour_separation import l2_distances, l2_map
from lsr_ext.baselines.deconvolution import deconvolution_map, deconvolve
from lsr_ext.baselines.pseudo_labels import pseudo_label_map, pseudo_labels
from lsr_ext.baselines.stains import StainSet

__all__ = [
    "StainSet",
    "area_label_map",
    "deconvolution_map",
    "deconvolve",
    "l2_distances",
    "l2_map",
    "pseudo_label_map",
    "pseudo_labels",
]
