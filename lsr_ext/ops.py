"""The operators ``torch.ops.lsr.*``: the library, and what the compiler and autograd must know of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, library
from torch.autograd.function import FunctionCtx, once_differentiable

from lsr_ext.options import LossOptions
from lsr_ext.reference import table_dtype

_LIBRARY = Path(__file__).with_name("_C.so")
if not _LIBRARY.exists():
    raise ImportError(f"{_LIBRARY} is missing: build the extension with `make build`, or reinstall lsr_ext")
torch.ops.load_library(_LIBRARY)

CUDA_LIBRARY = _LIBRARY.with_name("_C_cuda.so")
# It needs symbols that only a torch built with CUDA has; a GPU or a driver it needs only to run.
_has_cuda = torch.version.cuda is not None and CUDA_LIBRARY.exists()
if _has_cuda:
    torch.ops.load_library(CUDA_LIBRARY)


def has_kernel(device_type: str) -> bool:
    """Whether the operators run on this type of device; "meta" stands for tracing."""
    return device_type in ("cpu", "meta") or (device_type == "cuda" and _has_cuda)


def fused_loss(
    logits: Tensor,
    labels: Tensor,
    mean: Tensor,
    std: Tensor,
    options: LossOptions,
    *,
    group: Tensor | None,
    mask: Tensor | None,
    block_ids: Tensor | None,
    class_weights: Tensor | None,
    inplace_backward: bool,
) -> Tensor:
    """The loss by the fused operator; arguments as :func:`lsr_ext.functional.label_super_resolution_loss`."""
    if inplace_backward:
        check_may_overwrite(logits)
    loss, _, _ = LabelSuperResolution.apply(
        inplace_backward and not torch.compiler.is_compiling(),  # the compiler plans memory by itself
        logits,
        labels.long(),
        mean,
        std,
        None if group is None else group.long(),
        mask,
        block_ids,
        class_weights,
        options.mode,
        options.form,
        options.n_eff,
        options.alpha,
        options.floor_rel,
        options.floor_abs,
        options.sharpness,
        options.activation,
    )
    return loss


def check_may_overwrite(logits: Tensor) -> None:
    """Raise where a gradient written over the logits would destroy a leaf, or overlap itself."""
    if logits.is_leaf and logits.requires_grad:
        raise ValueError(
            "inplace_backward needs logits that a network computed, got a leaf: it would be overwritten"
        )
    if any(stride == 0 and size > 1 for stride, size in zip(logits.stride(), logits.shape, strict=True)):
        raise ValueError(f"inplace_backward needs logits without overlap, got strides {logits.stride()}")


@library.register_fake("lsr::block_moments")
def _(
    logits: Tensor, mask: Tensor | None, block_ids: Tensor | None, blocks: int, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    table = logits.new_empty((blocks, logits.shape[1]), dtype=table_dtype(logits))
    return table.new_empty((blocks,)), table, torch.empty_like(table)


@library.register_fake("lsr::label_super_resolution")
def _(logits: Tensor, labels: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    table = logits.new_empty((labels.shape[0], logits.shape[1]), dtype=table_dtype(logits))
    loss = logits.new_empty((), dtype=torch.promote_types(logits.dtype, torch.float32))
    return loss, table, torch.empty_like(table)


@library.register_fake("lsr::pixel_gradient")
def _(logits: Tensor, *_: object) -> Tensor:
    return torch.empty_like(logits)


@library.register_fake("lsr::pixel_gradient_")
def _(logits: Tensor, *_: object) -> None:
    return None


def _save_moments_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
    logits, mask, block_ids, _, ctx.activation = inputs
    ctx.save_for_backward(logits, mask, block_ids)


@once_differentiable
def _moments_backward(ctx: FunctionCtx, _: Tensor, grad_S: Tensor, grad_Q: Tensor) -> tuple:
    # p adds p to S and p (1 - p) to Q.
    a, b = (grad_S + grad_Q).contiguous(), (-2 * grad_Q).contiguous()
    grad = torch.ops.lsr.pixel_gradient(*ctx.saved_tensors, a, b, None, ctx.activation)
    return grad, None, None, None, None


def _save_loss_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
    logits, mask, block_ids = inputs[0], inputs[5], inputs[6]
    _, a, b = output
    ctx.activation = inputs[-1]
    ctx.mark_non_differentiable(a, b)
    ctx.save_for_backward(logits, mask, block_ids, a, b)


@once_differentiable
def _loss_backward(ctx: FunctionCtx, grad: Tensor, *_: Tensor | None) -> tuple:
    pixel_grad = torch.ops.lsr.pixel_gradient(*ctx.saved_tensors, grad, ctx.activation)
    return pixel_grad, *[None] * 15


library.register_autograd("lsr::block_moments", _moments_backward, setup_context=_save_moments_context)
library.register_autograd("lsr::label_super_resolution", _loss_backward, setup_context=_save_loss_context)


class BlockMoments(torch.autograd.Function):
    """The operator as torch.func needs it: its transforms do not see what is registered with an operator."""

    forward = staticmethod(torch.ops.lsr.block_moments)
    setup_context = staticmethod(_save_moments_context)
    backward = staticmethod(_moments_backward)


class LabelSuperResolution(torch.autograd.Function):
    """As :class:`BlockMoments`, for the fused loss; with `inplace` the gradient overwrites the logits."""

    @staticmethod
    def forward(inplace: bool, *arguments: object) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.lsr.label_super_resolution(*arguments)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
        ctx.inplace, *arguments = inputs
        _save_loss_context(ctx, arguments, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor, *_: Tensor | None) -> tuple:
        logits, *tables = ctx.saved_tensors
        if not ctx.inplace:
            return None, torch.ops.lsr.pixel_gradient(logits, *tables, grad, ctx.activation), *[None] * 15
        torch.ops.lsr.pixel_gradient_(logits, *tables, grad, ctx.activation)
        # Whoever else saved the logits, this node included, is told by autograd that they are gone.
        torch.autograd.graph.increment_version(logits)
        return None, logits.detach(), *[None] * 15
