"""What this installation is made of."""

from __future__ import annotations

import torch

from lsr_ext import __version__, ops
from lsr_ext.cuda_archs import archs_in


def build_info() -> dict[str, str]:
    """Versions, which build of the CPU kernels this processor runs, and what the CUDA library holds code for."""
    library = ops.CUDA_LIBRARY
    return {
        "lsr_ext": __version__,
        "torch": torch.__version__,
        "cpu": torch.ops.lsr.cpu_build(),
        "cuda": ";".join(archs_in(library)) if library.exists() else "none: built without CUDA kernels",
    }
