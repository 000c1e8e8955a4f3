"""Label super-resolution: train pixel-level segmentation from block-level labels.

Every name here is imported when it is first used, so that ``import lsr_ext`` is quick. The losses need torch
alone; ``lsr_ext.wsi`` and ``lsr_ext.data.cohort`` need the extra ``lsr_ext[wsi]``, ``lsr_ext.metrics`` needs
``lsr_ext[metrics]``, and the other subpackages need ``lsr_ext[train]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext import baselines as baselines
    from lsr_ext import config as config
    from lsr_ext import data as data
    from lsr_ext import evaluation as evaluation
    from lsr_ext import experiments as experiments
    from lsr_ext import functional, reference
    from lsr_ext import inference as inference
    from lsr_ext import metrics as metrics
    from lsr_ext import networks as networks
    from lsr_ext import ops as ops
    from lsr_ext import report as report
    from lsr_ext import sources as sources
    from lsr_ext import training as training
    from lsr_ext import wsi as wsi
    from lsr_ext.distributions import CountDistribution
    from lsr_ext.losses import FractionLoss, LabelSuperResolutionLoss
    from lsr_ext.versions import build_info

__version__ = "0.1.0"
__all__ = [
    "CountDistribution",
    "FractionLoss",
    "LabelSuperResolutionLoss",
    "build_info",
    "functional",
    "reference",
]

_HOMES = {
    "distributions": ["CountDistribution"],
    "losses": ["FractionLoss", "LabelSuperResolutionLoss"],
    "versions": ["build_info"],
}
# Those that need extras are no part of __all__: a star import works without them.
_SUBMODULES = [
    "baselines",
    "config",
    "data",
    "evaluation",
    "experiments",
    "functional",
    "inference",
    "metrics",
    "networks",
    "ops",
    "reference",
    "report",
    "sources",
    "training",
    "wsi",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES, _SUBMODULES)
