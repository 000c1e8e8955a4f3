"""Label super-resolution: train pixel-level segmentation from block-level labels.

Every name here is imported when it is first used, so that ``import lsr_ext`` is quick. The losses need torch
alone; ``lsr_ext.wsi`` and ``lsr_ext.data.cohort`` need the extra ``lsr_ext[wsi]``, ``lsr_ext.metrics`` needs
``lsr_ext[metrics]``, and the other subpackages need ``lsr_ext[train]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext import (
        baselines,
        config,
        data,
        evaluation,
        experiments,
        functional,
        inference,
        metrics,
        networks,
        ops,
        reference,
        report,
        sources,
        training,
        wsi,
    )
    from lsr_ext.distributions import CountDistribution
    from lsr_ext.losses import LabelSuperResolutionLoss
    from lsr_ext.versions import build_info

__version__ = "0.1.0"
__all__ = [
    "CountDistribution",
    "LabelSuperResolutionLoss",
    "baselines",
    "build_info",
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

_HOMES = {
    "versions": ["build_info"],
    "distributions": ["CountDistribution"],
    "losses": ["LabelSuperResolutionLoss"],
}
_NAMES = [name for names in _HOMES.values() for name in names]
__getattr__, __dir__ = lazy_names(__name__, _HOMES, [name for name in __all__ if name not in _NAMES])
