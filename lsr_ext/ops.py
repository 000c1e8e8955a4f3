"""The operators ``torch.ops.lsr.*``: the library, and what the compiler and autograd must know of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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
    return table if table is None or table.dtype in (torch.float64, torch.float32) else table.float()


def loss_inputs(
    logits: Tensor,
    labels: Tensor | None,
    mean: Tensor,
    std: Tensor,
    options: LossOptions,
    *,
    group: Tensor | None = None,
    mask: Tensor | None = None,
    block_ids: Tensor | None = None,
    class_weights: Tensor | None = None,
    block_weights: Tensor | None = None,
) -> LossInputs:
    """The operator's arguments for :func:`lsr_ext.functional.label_super_resolution_loss`'s."""
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


def fused_loss(inputs: LossInputs, inplace_backward: bool) -> Tensor:
    """The loss by the fused operator; with `inplace_backward` its gradient overwrites the logits."""
    if inplace_backward:
        check_may_overwrite(inputs.logits)
    if not _is_transformed():
        return EagerLoss.apply(inputs.logits, inputs, inplace_backward)
    inplace = inplace_backward and not torch.compiler.is_compiling()  # the compiler plans memory by itself
    loss, _, _ = LabelSuperResolution.apply(inplace, *inputs)
    return loss


def block_moments(inputs: MomentInputs) -> tuple[Tensor, Tensor, Tensor]:
    """The block sums by the fused operator."""
    if not _is_transformed():
        return EagerMoments.apply(inputs.logits, inputs)
    return BlockMoments.apply(*inputs)


def _is_transformed() -> bool:
    """Whether the compiler or a transform of torch.func looks on, and needs to see every argument."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _plain(error: RuntimeError) -> Exception:
    """What the operator says of values that it finds out of range, without the place in its source."""
    message = str(error)
    for fault in ("labels must lie in", "block_ids must be below"):
        if fault in message:
            return ValueError(message[message.index(fault) :].splitlines()[0])
    return error


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


def _gradients(inputs: type[MomentInputs | LossInputs], logits: Tensor | None) -> tuple[Tensor | None, ...]:
    """One gradient for each input: no other than the logits has one."""
    return tuple(logits if name == "logits" else None for name in inputs._fields)


def _moment_coefficients(grad_S: Tensor, grad_Q: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of d / d p = a + b p: p adds p to S and p (1 - p) to Q."""
    return (grad_S + grad_Q).contiguous(), (-2 * grad_Q).contiguous()


def _loss_gradient(ctx: FunctionCtx, grad: Tensor, inplace: bool) -> Tensor:
    """The gradient by the logits, the first of what was saved; written over them if `inplace`."""
    logits, *tables = ctx.saved_tensors
    if not inplace:
        return torch.ops.lsr.pixel_gradient(logits, *tables, grad, ctx.activation)
    torch.ops.lsr.pixel_gradient_(logits, *tables, grad, ctx.activation)
    # Whoever else saved the logits, this node included, is told by autograd that they are gone.
    torch.autograd.graph.increment_version(logits)
    return logits.detach()


def _save_moments_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
    given = MomentInputs(*inputs)
    ctx.activation = given.activation
    ctx.save_for_backward(given.logits, given.mask, given.block_ids)


@once_differentiable
def _moments_backward(ctx: FunctionCtx, _: Tensor, grad_S: Tensor, grad_Q: Tensor) -> tuple:
    a, b = _moment_coefficients(grad_S, grad_Q)
    grad = torch.ops.lsr.pixel_gradient(*ctx.saved_tensors, a, b, None, ctx.activation)
    return _gradients(MomentInputs, logits=grad)


def _save_loss_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
    given = LossInputs(*inputs)
    _, a, b = output
    ctx.activation = given.activation
    ctx.mark_non_differentiable(a, b)
    if not torch.compiler.is_compiling():
        ctx.set_materialize_grads(False)  # or every backward pass fills two tables with zeros for a and b
    ctx.save_for_backward(given.logits, given.mask, given.block_ids, a, b)


@once_differentiable
def _loss_backward(ctx: FunctionCtx, grad: Tensor | None, *_: Tensor | None) -> tuple:
    gradient = None if grad is None else _loss_gradient(ctx, grad, inplace=False)
    return _gradients(LossInputs, logits=gradient)


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
    def forward(inplace: bool, *inputs: object) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.lsr.label_super_resolution(*inputs)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
        ctx.inplace, *inputs = inputs
        _save_loss_context(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor | None, *_: Tensor | None) -> tuple:
        gradient = None if grad is None else _loss_gradient(ctx, grad, ctx.inplace)
        return None, *_gradients(LossInputs, logits=gradient)


class EagerMoments(torch.autograd.Function):
    """The operator where nobody looks on: an argument less to look at is time that a GPU waits for the host."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, inputs: MomentInputs) -> tuple[Tensor, Tensor, Tensor]:
        ctx.activation = inputs.activation
        ctx.save_for_backward(logits, inputs.mask, inputs.block_ids)
        try:
            with torch._C._AutoDispatchBelowAutograd():
                return torch.ops.lsr.block_moments(*inputs)
        except RuntimeError as error:
            raise _plain(error) from None

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, _: Tensor, grad_S: Tensor, grad_Q: Tensor) -> tuple:
        a, b = _moment_coefficients(grad_S, grad_Q)
        return torch.ops.lsr.pixel_gradient(*ctx.saved_tensors, a, b, None, ctx.activation), None


class EagerLoss(torch.autograd.Function):
    """As :class:`EagerMoments`, for the fused loss; with `inplace` the gradient overwrites the logits."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, inputs: LossInputs, inplace: bool) -> Tensor:
        try:
            with torch._C._AutoDispatchBelowAutograd():
                loss, a, b = torch.ops.lsr.label_super_resolution(*inputs)
        except RuntimeError as error:
            raise _plain(error) from None
        ctx.activation, ctx.inplace = inputs.activation, inplace
        ctx.save_for_backward(logits, inputs.mask, inputs.block_ids, a, b)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple:
        return _loss_gradient(ctx, grad, ctx.inplace), None, None
