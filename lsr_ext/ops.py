"""The fused operators as functions, by the way that suits a caller: eager, compiled, or within torch.func."""

from __future__ import annotations

import torch
from torch import Tensor

from lsr_ext.op_gradients import EagerLoss, EagerMoments, TransformedLoss, TransformedMoments
from lsr_ext.op_inputs import CUDA_LIBRARY, LossInputs, MomentInputs, has_cuda, loss_inputs, loss_op, moments_op

__all__ = [
    "CUDA_LIBRARY",
    "LossInputs",
    "MomentInputs",
    "block_moments",
    "fused_loss",
    "has_kernel",
    "loss_inputs",
]


def has_kernel(device_type: str) -> bool:
    """Whether the operators run on this type of device; "meta" stands for tracing."""
    return device_type in ("cpu", "meta") or (device_type == "cuda" and has_cuda)


def fused_loss(inputs: LossInputs, inplace_backward: bool) -> Tensor | None:
    """The loss by the fused operator; with `inplace_backward` its gradient overwrites the logits.

    None where a transform of torch.func looks at targets or weights: the operator has no gradient by them.
    """
    if torch.compiler.is_compiling():  # which plans memory by itself
        return loss_op(*inputs)[0]
    if inplace_backward:
        check_may_overwrite(inputs.logits)
    try:
        return EagerLoss.apply(inputs.logits, inputs, inplace_backward)
    except RuntimeError as error:
        if not _is_of_a_transform(error):
            raise _plain(error) from None
    if any(_is_transformed(table) for table in inputs if isinstance(table, Tensor) and table is not inputs.logits):
        return None
    return TransformedLoss.apply(*inputs)[0]


def block_moments(inputs: MomentInputs) -> tuple[Tensor, Tensor, Tensor]:
    """The block sums by the fused operator."""
    if torch.compiler.is_compiling():
        return moments_op(*inputs)
    try:
        return EagerMoments.apply(inputs.logits, inputs)
    except RuntimeError as error:
        if not _is_of_a_transform(error):
            raise _plain(error) from None
    return TransformedMoments.apply(*inputs)


def _is_of_a_transform(error: RuntimeError) -> bool:
    """Whether a transform of torch.func asks for a Function of another kind, which sees every argument."""
    return "setup_context" in str(error)


def _is_transformed(table: Tensor) -> bool:
    """Whether a transform of torch.func batches or differentiates a table of real numbers."""
    return table.is_floating_point() and torch.func.debug_unwrap(table) is not table


def _plain(error: RuntimeError) -> Exception:
    """What the operator says of values that it finds out of range, without the place in its source."""
    message = str(error)
    for fault in (
        "labels must lie in",
        "block_ids must be below",
        "mean must lie in",
        "fractions must lie in",
        "std must lie in",
        "class_weights must be",
        "block_weights must be",
    ):
        if fault in message:
            return ValueError(message[message.index(fault) :].splitlines()[0])
    return error


def check_may_overwrite(logits: Tensor) -> None:
    """Raise where a gradient written over the logits would destroy a leaf, or overlap itself."""
    whole = logits if logits._base is None else logits._base
    if whole.is_leaf and whole.requires_grad:
        kind = "a leaf" if whole is logits else "a view of a leaf"
        raise ValueError(
            f"inplace_backward needs logits that a network computed, got {kind}: it would be overwritten"
        )
    if _overlaps(logits):
        raise ValueError(f"inplace_backward needs logits without overlap, got strides {logits.stride()}")


def _overlaps(tensor: Tensor) -> bool:
    """Whether a dimension steps into what those of smaller strides have walked through."""
    walked = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= walked:
            return True
        walked += (size - 1) * stride
    return False
