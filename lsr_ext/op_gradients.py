"""What autograd and torch.func must know of the operators: their gradients, and the derivatives of these."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, library
from torch.autograd.function import FunctionCtx

from lsr_ext import reference
from lsr_ext.op_inputs import (
    LossInputs,
    MomentInputs,
    gradient_op,
    gradient_op_,
    loss_op,
    loss_without_gradient_op,
    moments_op,
)
from lsr_ext.reference import table_dtype


def _gradients(inputs: type[MomentInputs | LossInputs], logits: Tensor | None) -> tuple[Tensor | None, ...]:
    """One gradient for each input: no other than the logits has one."""
    return tuple(logits if name == "logits" else None for name in inputs._fields)


def _moment_coefficients(grad_S: Tensor, grad_Q: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of d / d p = a + b p: p adds p to S and p (1 - p) to Q."""
    return (grad_S + grad_Q).contiguous(), (-2 * grad_Q).contiguous()


def _is_differentiated_again() -> bool:
    """Whether a backward pass may itself be differentiated: `create_graph`, and every one within torch.func."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _reference_loss(inputs: LossInputs, logits: Tensor) -> Tensor:
    """The loss of other logits in plain PyTorch, from the operator's arguments."""
    sums = reference.block_moments(
        logits,
        inputs.mask,
        inputs.activation,
        block_ids=inputs.block_ids,
        num_blocks=len(inputs.mean if inputs.labels is None else inputs.labels),
    )
    tables = inputs.labels, inputs.mean, inputs.std
    weights = {name: getattr(inputs, name) for name in ("group", "class_weights", "block_weights")}
    loss = reference.table_loss(*sums, *tables, inputs, **weights)
    return loss.to(torch.promote_types(logits.dtype, torch.float32))


def _reference_moments(inputs: MomentInputs, logits: Tensor) -> tuple[Tensor, Tensor]:
    _, S, Q = reference.block_moments(
        logits, inputs.mask, inputs.activation, block_ids=inputs.block_ids, num_blocks=inputs.blocks
    )
    return S, Q


def _gradient_by(function: Callable, inputs: LossInputs | MomentInputs) -> Callable[..., Tensor]:
    """The gradient by the logits as a function of the gradient of what comes out, and of the logits."""
    return lambda grad, logits: torch.func.vjp(partial(function, inputs), logits)[1](grad)[0]


def _or_zeros(tangent: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if tangent is None else tangent


class LossGradient(torch.autograd.Function):
    """The gradient by the kernels; its own derivatives, which few ask for, by the reference."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, a: Tensor, b: Tensor, *inputs: object) -> Tensor:
        given = LossInputs(*inputs)
        return gradient_op(given.logits, given.mask, given.block_ids, a, b, grad, given.activation)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        grad, _, _, *rest = inputs
        _save_inputs(ctx, LossInputs(*rest), grad)

    @staticmethod
    def backward(ctx: FunctionCtx, direction: Tensor) -> tuple:
        inputs, grad = _saved_inputs(ctx, LossInputs)
        by_grad, by_logits = torch.func.vjp(_gradient_by(_reference_loss, inputs), grad, inputs.logits)[1](
            direction
        )
        return by_grad, None, None, *_gradients(LossInputs, by_logits)

    @staticmethod
    def jvp(ctx: FunctionCtx, grad_tangent: Tensor | None, _a: None, _b: None, *tangents: Tensor | None) -> Tensor:
        inputs, grad = _saved_inputs(ctx, LossInputs)
        moved = _or_zeros(grad_tangent, grad), _or_zeros(tangents[0], inputs.logits)
        return torch.func.jvp(_gradient_by(_reference_loss, inputs), (grad, inputs.logits), moved)[1]


class MomentGradient(torch.autograd.Function):
    """As :class:`LossGradient`, for the block sums."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad_S: Tensor, grad_Q: Tensor, *inputs: object) -> Tensor:
        given = MomentInputs(*inputs)
        coefficients = _moment_coefficients(grad_S, grad_Q)
        return gradient_op(given.logits, given.mask, given.block_ids, *coefficients, None, given.activation)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        grad_S, grad_Q, *rest = inputs
        _save_inputs(ctx, MomentInputs(*rest), grad_S, grad_Q)

    @staticmethod
    def backward(ctx: FunctionCtx, direction: Tensor) -> tuple:
        inputs, *grads = _saved_inputs(ctx, MomentInputs)
        gradient = _gradient_by(_reference_moments, inputs)
        by_sums, by_logits = torch.func.vjp(gradient, tuple(grads), inputs.logits)[1](direction)
        return *by_sums, *_gradients(MomentInputs, by_logits)

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: Tensor | None) -> Tensor:
        inputs, *grads = _saved_inputs(ctx, MomentInputs)
        *by_sums, by_logits = (
            _or_zeros(tangent, like) for tangent, like in zip(tangents, (*grads, inputs.logits), strict=False)
        )
        gradient = _gradient_by(_reference_moments, inputs)
        return torch.func.jvp(gradient, (tuple(grads), inputs.logits), (tuple(by_sums), by_logits))[1]


def _save_inputs(ctx: FunctionCtx, inputs: MomentInputs | LossInputs, *others: Tensor) -> None:
    """Keep an operator's arguments, and other tensors after them, for :func:`_saved_inputs`."""
    ctx.plain = tuple(None if isinstance(value, Tensor) else value for value in inputs)
    saved = (*(value if isinstance(value, Tensor) else None for value in inputs), *others)
    ctx.save_for_backward(*saved)
    ctx.save_for_forward(*saved)


def _saved_inputs(ctx: FunctionCtx, kind: type[MomentInputs | LossInputs]) -> tuple:
    saved, count = ctx.saved_tensors, len(kind._fields)
    values = (plain if tensor is None else tensor for plain, tensor in zip(ctx.plain, saved[:count], strict=True))
    return kind(*values), *saved[count:]


def _loss_gradient(inputs: LossInputs, a: Tensor, b: Tensor, grad: Tensor) -> Tensor:
    """The gradient by the logits."""
    if _is_differentiated_again():
        return LossGradient.apply(grad, a, b, *inputs)
    return gradient_op(inputs.logits, inputs.mask, inputs.block_ids, a, b, grad, inputs.activation)


def _overwrite_by_gradient(logits: Tensor, *others: Tensor | str | None) -> Tensor:
    """The gradient by the logits, written over them; the arguments are the operator's."""
    gradient_op_(logits, *others)
    # Whoever else saved the logits, this node included, is told by autograd that they are gone.
    torch.autograd.graph.increment_version(logits)
    return logits.detach()


def _moments_gradient(inputs: MomentInputs, grad_S: Tensor, grad_Q: Tensor) -> Tensor:
    if _is_differentiated_again():
        return MomentGradient.apply(grad_S, grad_Q, *inputs)
    coefficients = _moment_coefficients(grad_S, grad_Q)
    return gradient_op(inputs.logits, inputs.mask, inputs.block_ids, *coefficients, None, inputs.activation)


def _save_moments_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
    ctx.mark_non_differentiable(output[0])
    _save_inputs(ctx, MomentInputs(*inputs))


def _moments_backward(ctx: FunctionCtx, _: Tensor, grad_S: Tensor, grad_Q: Tensor) -> tuple:
    (inputs,) = _saved_inputs(ctx, MomentInputs)
    return _gradients(MomentInputs, logits=_moments_gradient(inputs, grad_S, grad_Q))


def _save_loss_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
    _, a, b = output
    ctx.mark_non_differentiable(a, b)
    if not torch.compiler.is_compiling():
        ctx.set_materialize_grads(False)  # or every backward pass fills two tables with zeros for a and b
    _save_inputs(ctx, LossInputs(*inputs), a, b)


def _loss_backward(ctx: FunctionCtx, grad: Tensor | None, *_: Tensor | None) -> tuple:
    if grad is None:
        return _gradients(LossInputs, logits=None)
    inputs, a, b = _saved_inputs(ctx, LossInputs)
    return _gradients(LossInputs, logits=_loss_gradient(inputs, a, b, grad))


library.register_autograd("lsr::block_moments", _moments_backward, setup_context=_save_moments_context)
library.register_autograd("lsr::label_super_resolution", _loss_backward, setup_context=_save_loss_context)


class TransformedMoments(torch.autograd.Function):
    """The operator as torch.func needs it: its transforms do not see what is registered with an operator."""

    generate_vmap_rule = True
    forward = staticmethod(moments_op)
    setup_context = staticmethod(_save_moments_context)
    backward = staticmethod(_moments_backward)

    @staticmethod
    def jvp(ctx: FunctionCtx, tangent: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        (inputs,) = _saved_inputs(ctx, MomentInputs)
        _, tangents = torch.func.jvp(partial(_reference_moments, inputs), (inputs.logits,), (tangent,))
        return None, *tangents


class TransformedLoss(torch.autograd.Function):
    """As :class:`TransformedMoments`, for the fused loss; its gradient never overwrites the logits."""

    generate_vmap_rule = True
    forward = staticmethod(loss_op)
    setup_context = staticmethod(_save_loss_context)
    backward = staticmethod(_loss_backward)

    @staticmethod
    def jvp(ctx: FunctionCtx, tangent: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        inputs, _, _ = _saved_inputs(ctx, LossInputs)
        _, tangent = torch.func.jvp(partial(_reference_loss, inputs), (inputs.logits,), (tangent,))
        return tangent, None, None


class EagerMoments(torch.autograd.Function):
    """The operator where nobody looks on: an argument less to look at is time that a GPU waits for the host."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, inputs: MomentInputs) -> tuple[Tensor, Tensor, Tensor]:
        ctx.others = inputs[1:]
        saved = logits, inputs.mask, inputs.block_ids
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)
        n, S, Q = moments_op(logits.detach(), *inputs[1:])
        ctx.mark_non_differentiable(n)
        return n, S, Q

    @staticmethod
    def backward(ctx: FunctionCtx, _: Tensor, grad_S: Tensor, grad_Q: Tensor) -> tuple:
        logits, _, _ = ctx.saved_tensors
        return _moments_gradient(MomentInputs(logits, *ctx.others), grad_S, grad_Q), None

    @staticmethod
    def jvp(ctx: FunctionCtx, tangent: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        """The gradient is linear in that of the sums, and its transpose is what is asked for."""
        inputs = MomentInputs(ctx.saved_tensors[0], *ctx.others)
        shape = inputs.blocks, inputs.logits.shape[1]
        is_differentiated_again = torch.is_grad_enabled()
        with torch.enable_grad():
            grads = [
                inputs.logits.new_zeros(shape, dtype=table_dtype(inputs.logits), requires_grad=True) for _ in "SQ"
            ]
            along = (MomentGradient.apply(*grads, *inputs) * tangent).sum()
            return None, *torch.autograd.grad(along, grads, create_graph=is_differentiated_again)


class EagerLoss(torch.autograd.Function):
    """As :class:`EagerMoments`, for the fused loss; with `inplace` the gradient overwrites the logits."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, inputs: LossInputs, inplace: bool) -> Tensor:
        loss, a, b = loss_without_gradient_op(logits.detach(), *inputs[1:])
        ctx.others, ctx.activation, ctx.inplace = inputs[1:], inputs.activation, inplace
        saved = logits, inputs.mask, inputs.block_ids, a, b
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)
        return loss

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple:
        logits, mask, block_ids, a, b = ctx.saved_tensors
        if _is_differentiated_again():
            gradient = LossGradient.apply(grad, a, b, logits, *ctx.others)
        elif ctx.inplace:
            gradient = _overwrite_by_gradient(logits, mask, block_ids, a, b, grad, ctx.activation)
        else:
            gradient = gradient_op(logits, mask, block_ids, a, b, grad, ctx.activation)
        return gradient, None, None

    @staticmethod
    def jvp(ctx: FunctionCtx, tangent: Tensor, *_: None) -> Tensor:
        """In single precision at least: a gradient in half of it would be rounded before it is summed."""
        logits, _, _, a, b = ctx.saved_tensors
        one = logits.new_ones((), dtype=torch.promote_types(logits.dtype, torch.float32))
        gradient = LossGradient.apply(one, a, b, logits.to(one.dtype), *ctx.others)
        return (gradient * tangent).sum()
