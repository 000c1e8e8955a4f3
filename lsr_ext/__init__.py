"""Label super-resolution: train pixel-level segmentation from block-level labels.

``import lsr_ext`` needs torch alone. ``lsr_ext.baselines``, ``.data``, ``.metrics``, ``.training``,
``.experiments`` and ``.report`` are imported when they are first used and need the extra ``lsr_ext[train]``; for
dots, regions and maps of slides ``.metrics`` needs ``lsr_ext[metrics]``, and ``.wsi`` needs ``lsr_ext[wsi]``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from lsr_ext import functional, ops, reference
from lsr_ext.cuda_archs import archs_in
from lsr_ext.distributions import CountDistribution
from lsr_ext.losses import LabelSuperResolutionLoss

__version__ = "0.1.0"
__all__ = ["CountDistribution", "LabelSuperResolutionLoss", "build_info", "functional", "reference"]

_LAZY = ("baselines", "data", "experiments", "metrics", "report", "training", "wsi")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"lsr_ext.{name}")
    raise AttributeError(f"module 'lsr_ext' has no attribute {name!r}")


def build_info() -> dict[str, str]:
    """Versions, which build of the CPU kernels this processor runs, and what the CUDA library holds code for."""
    library = ops.CUDA_LIBRARY
    return {
        "lsr_ext": __version__,
        "torch": torch.__version__,
        "cpu": torch.ops.lsr.cpu_build(),
        "cuda": ";".join(archs_in(library)) if library.exists() else "none: built without CUDA kernels",
    }
