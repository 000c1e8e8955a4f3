"""The operators ``torch.ops.lsr.*``: their libraries, their arguments, and the shapes of what they return."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, library

from lsr_ext.checks import BlockTensors
from lsr_ext.options import LossOptions
from lsr_ext.reference import table_dtype

_LIBRARY = Path(__file__).with_name("_C.so")
if not _LIBRARY.exists():
    raise ImportError(f"{_LIBRARY} is missing: build the extension with `make build`, or reinstall lsr_ext")
torch.ops.load_library(_LIBRARY)

_WANTED_BUILD = os.environ.get("LSR_CPU")
if _WANTED_BUILD and torch.ops.lsr.cpu_build() != _WANTED_BUILD:
    warnings.warn(
        f"LSR_CPU: expected portable, avx2 or avx512, where the processor has it, got {_WANTED_BUILD!r}: "
        f"the {torch.ops.lsr.cpu_build()} kernels are used",
        stacklevel=2,
    )

CUDA_LIBRARY = _LIBRARY.with_name("_C_cuda.so")
# It needs symbols that only a torch built with CUDA has; a GPU or a driver it needs only to run.
has_cuda = torch.version.cuda is not None and CUDA_LIBRARY.exists()
if has_cuda:
    torch.ops.load_library(CUDA_LIBRARY)

# By overload: without one each call looks for it.
loss_op = torch.ops.lsr.label_super_resolution.default
loss_without_gradient_op = torch.ops.lsr.loss_and_coefficients.default
moments_op = torch.ops.lsr.block_moments.default
gradient_op = torch.ops.lsr.pixel_gradient.default
gradient_op_ = torch.ops.lsr.pixel_gradient_.default


_WIDE = torch.float64, torch.float32


class MomentInputs(NamedTuple):
    """The arguments of ``torch.ops.lsr.block_moments``."""

    logits: Tensor
    mask: Tensor | None
    block_ids: Tensor | None
    blocks: int
    activation: str


class LossInputs(NamedTuple):
    """The arguments of ``torch.ops.lsr.label_super_resolution``."""

    logits: Tensor
    labels: Tensor | None
    mean: Tensor
    std: Tensor
    group: Tensor | None
    mask: Tensor | None
    block_ids: Tensor | None
    class_weights: Tensor | None
    block_weights: Tensor | None
    mode: str
    form: str
    n_eff: float
    alpha: float
    floor_rel: float
    floor_abs: float
    sharpness: float
    activation: str


def _integers(table: Tensor | None) -> Tensor | None:
    return table if table is None or table.dtype is torch.int64 else table.long()


def _reals(table: Tensor | None) -> Tensor | None:
    """Numbers as the operator takes them: of fewer digits they are widened, which loses none."""
    return table if table is None or table.dtype in _WIDE else table.float()


def loss_inputs(
    logits: Tensor, labels: Tensor | None, mean: Tensor, std: Tensor, options: LossOptions, beside: BlockTensors
) -> LossInputs:
    """The operator's arguments for :func:`lsr_ext.functional.label_super_resolution_loss`'s."""
    group, mask, block_ids, class_weights, block_weights = beside
    return LossInputs(
        logits=logits,
        labels=_integers(labels),
        mean=_reals(mean),
        std=_reals(std),
        group=_integers(group),
        mask=mask,
        block_ids=block_ids,
        class_weights=_reals(class_weights),
        block_weights=_reals(block_weights),
        mode=options.mode,
        form=options.form,
        n_eff=options.n_eff,
        alpha=options.alpha,
        floor_rel=options.floor_rel,
        floor_abs=options.floor_abs,
        sharpness=options.sharpness,
        activation=options.activation,
    )


@library.register_fake("lsr::block_moments")
def _(
    logits: Tensor, mask: Tensor | None, block_ids: Tensor | None, blocks: int, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    table = logits.new_empty((blocks, logits.shape[1]), dtype=table_dtype(logits))
    return table.new_empty((blocks,)), table, torch.empty_like(table)


@library.register_fake("lsr::loss_and_coefficients")
@library.register_fake("lsr::label_super_resolution")
def _(logits: Tensor, labels: Tensor | None, mean: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    blocks = (mean if labels is None else labels).shape[0]
    table = logits.new_empty((blocks, logits.shape[1]), dtype=table_dtype(logits))
    loss = logits.new_empty((), dtype=torch.promote_types(logits.dtype, torch.float32))
    return loss, table, torch.empty_like(table)


@library.register_fake("lsr::pixel_gradient")
def _(logits: Tensor, *_: object) -> Tensor:
    return torch.empty_like(logits)


@library.register_fake("lsr::pixel_gradient_")
def _(logits: Tensor, *_: object) -> None:
    return None
