"""The stateless functions: block moments and the label super-resolution loss."""

from __future__ import annotations

import warnings
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from lsr_ext import ops, reference
from lsr_ext.checks import (
    BlockTensors,
    check_block_ids,
    check_have_labels,
    check_inputs,
    check_labels,
    check_moment_inputs,
    check_not_negative,
    check_reduction,
    check_targets,
    check_values,
    check_where_free,
)
from lsr_ext.options import LossOptions

BACKENDS = ("auto", "fused", "reference")
_options_once = lru_cache(maxsize=1024)(LossOptions)


@lru_cache
def _say_fallback(device_type: str) -> None:
    warnings.warn(
        f"no fused kernel for device type {device_type!r}: the reference in plain PyTorch is used",
        stacklevel=4,
    )


def _options(*choices: str | float | None) -> LossOptions:
    """The options, checked once however often they are chosen."""
    if torch.compiler.is_compiling():  # which sees through a cache, and warns of it
        return LossOptions(*choices)
    try:
        return _options_once(*choices)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
    return LossOptions(*choices)  # which says what is wrong with a list


def _use_fused(backend: str, device: torch.device) -> bool:
    """Whether the kernels take the call; 'auto' falls back to the reference and says so once."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if backend == "reference":
        return False
    if ops.has_kernel(device.type):
        return True
    if backend == "fused":
        raise RuntimeError(f"backend 'fused': there is no kernel for device type {device.type!r}")
    _say_fallback(device.type)
    return False


def block_moments(
    logits: Tensor,
    mask: Tensor | None = None,
    activation: str = "softmax",
    *,
    block_ids: Tensor | None = None,
    num_blocks: int | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-class sums over the valid pixels of every block: all that the losses see of the pixels.

        n_k = number of valid pixels,   S_kl = sum p_l,   Q_kl = sum p_l (1 - p_l)

    Args:
        logits: (N, L, H, W) float32, float64, bfloat16 or float16, any strides.
        mask: (N, H, W) bool, True where a pixel is valid; None = all are.
        activation: "softmax" over classes (L >= 2) or "sigmoid" per class.
        block_ids: (N, H, W) int32 in [-1, num_blocks): the block of each pixel, -1 = none;
            None = every image is one block.
        num_blocks: K, required with ``block_ids``.
        backend: "auto", "fused" or "reference".

    Returns:
        n (K,), S (K, L), Q (K, L) in float64; S and Q are differentiable.

    Raises:
        ValueError, TypeError: on a wrong rank, shape or dtype, saying what was expected and what came.
    """
    check_moment_inputs(logits, mask, block_ids, num_blocks, activation)
    if not _use_fused(backend, logits.device):
        if block_ids is not None:
            check_where_free(logits.device, partial(check_block_ids, block_ids, num_blocks))
        return reference.block_moments(logits, mask, activation, block_ids=block_ids, num_blocks=num_blocks)
    blocks = logits.shape[0] if num_blocks is None else num_blocks
    return ops.block_moments(ops.MomentInputs(logits, mask, block_ids, blocks, activation))


def label_super_resolution_loss(
    logits: Tensor,
    labels: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    group: Tensor | None = None,
    mask: Tensor | None = None,
    block_ids: Tensor | None = None,
    class_weights: Tensor | None = None,
    block_weights: Tensor | None = None,
    mode: str = "intra+inter",
    form: str = "marginal",
    variance: str | float = "independent",
    alpha: float = 1.0,
    floor: float | None = None,
    sharpness: float = 0.0,
    activation: str = "softmax",
    reduction: str = "mean",
    backend: str = "auto",
    inplace_backward: bool = False,
    validate: bool = False,
) -> Tensor:
    r"""Match the class fractions a network predicts in blocks to what the blocks' labels say of them.

    With mu_kl = S_kl / n_k the predicted fraction of class l in block k and s_kl = Q_kl / (n_k n_eff) its
    variance, the loss is the mean over known cells of a distance D between the predicted Gaussian
    and the target N(eta, r2), eta = mean[z, l], r2 = (alpha std[z, l])^2:

    - ``mode="intra"``: each block by itself, D(mu_kl, s_kl) (Eq. 5);
    - ``mode="inter"``: each group of blocks of one label, by the mean mu_g and the variance
      V_g of mu_kl over its blocks (Eq. 8, 9);
    - ``mode="intra+inter"``: as "inter", with V_g + mean_k s_kl (Eq. 11, 18).

    With d = eta - mu and s the variance, D by ``form`` is

    - "paper":       1/2 s d^2 / (r2 + s)^2 + 1/2 log(2 pi s), Eq. 5 and 9 as printed. Unbounded below as
      s -> 0 whatever the mean: with ``floor=0.0`` (the exact formula) training collapses to one class. The
      default floor, r2 itself, lets it train;
    - "marginal":    1/2 d^2 / (r2 + s) + 1/2 log(2 pi (r2 + s)): bounded, trains well, the default;
    - "kl":          KL(predicted || target);
    - "reverse_kl":  KL(target || predicted);
    - "wasserstein": d^2 + (sqrt(s) - sqrt(r2))^2;
    - "legacy":      the forms of earlier public code, kept exactly;
    - "proportion":  -eta log(mu + 1e-6), the usual loss of learning from label proportions
      (Ardehaly and Culotta 2017);
    - "squared":     d^2, the empirical proportion risk (Yu et al. 2014);
    - "size":        max(|d| - sqrt(r2), 0)^2: nothing within a standard deviation (Kervadec et al. 2019).

    Args:
        logits: (N, L, H, W) float32, float64, bfloat16 or float16, any strides.
        labels: (N,) integers, one label per block, or (N, L), one per block and class; in [0, Z),
            -1 = unknown: takes no part. (K,) or (K, L) with ``block_ids``.
        mean, std: (Z, L) mean and standard deviation of the class fraction given the label; mean in [0, 1],
            std >= 0 (> 0 for "kl" and "reverse_kl").
        group: integer ids, shaped as labels may be; blocks of equal id and equal label form one group. None:
            the blocks of the batch with equal labels form one group.
        mask: (N, H, W) bool, True where a pixel is valid. A block without a valid pixel takes no part.
        block_ids: (N, H, W) int32 in [-1, K): the block of each pixel, -1 = none.
        class_weights: (L,) weights >= 0 of the classes in the mean; on a GPU nobody looks at their signs.
        block_weights: (N,) weights >= 0 of the blocks: one of weight 2 counts as two, in the mean over blocks and
            in its groups; one of weight 0 takes no part, and has no gradient by its weight.
            (K,) with ``block_ids``.
        variance: the paper prints two variances of a block's mean. "independent": Q / n^2, the variance of
            a mean of independent pixels (Eq. 14-16). "printed": Q / n (Eq. 3). A number n_eff in [1, n]:
            Q / (n n_eff), for pixels that are correlated (Appendix A). The form "legacy" has Q / n^2 whatever is
            chosen.
        alpha: scale of the target's standard deviation (Appendix A, Table 5).
        floor: added to s. None: rel * r2 + 1e-8, rel by form (1 for "paper"); 0.0: the formula exactly.
        sharpness: adds sharpness * mean log(Q / n + 0.03), which rewards decided pixels.
        activation: "softmax" (exclusive classes) or "sigmoid" (independent classes).
        reduction: "mean", or "none": (N,), for each block the mean over its known classes of its own distances, or
            of its groups' in the modes of groups: one entry a block, not a group, so that their mean is not the
            loss. The sums are the kernels' and the rest plain PyTorch, with tables of blocks x blocks x classes in
            the modes of groups; `inplace_backward` is then not used.
        backend: "auto", "fused" (the kernels) or "reference" (plain PyTorch).
        inplace_backward: the gradient overwrites the logits, which saves their size in memory. Only for logits
            that a network computed and that nobody reads after the backward pass. Autograd raises where a second
            backward pass, or another operation's, needs them; the reference and torch.compile ignore it.
        validate: also check the values (finite logits, labels in range, no empty block): reads all pixels
            and synchronises.

    Returns:
        A scalar (or (N,)), float64 for float64 logits and float32 otherwise, differentiable by the logits, and by
        mean, std and the weights where they require it (by a std of exactly 0 it is NaN under "wasserstein" and
        "size"). With nothing known it is 0, and so is its gradient. A logit of NaN, or of infinity under softmax,
        makes it NaN if its pixel counts and its block is known; minus infinity rules a class out. Second and
        forward-mode derivatives are right, and so are torch.func's transforms by or over all of these, at the
        speed of plain PyTorch.

    Raises:
        ValueError, TypeError: on arguments that do not agree, saying what was expected and what came. On a GPU
            labels and block ids out of range, which the host cannot see without waiting, make the result NaN.
    """
    check_have_labels(labels)
    options = _options(mode, form, variance, alpha, floor, sharpness, activation)
    beside = BlockTensors(group, mask, block_ids, class_weights, block_weights)
    return loss_by_options(
        logits, labels, mean, std, options, beside, reduction, backend, inplace_backward, validate
    )


def fraction_loss(
    logits: Tensor,
    fractions: Tensor,
    std: Tensor,
    *,
    group: Tensor | None = None,
    mask: Tensor | None = None,
    block_ids: Tensor | None = None,
    class_weights: Tensor | None = None,
    block_weights: Tensor | None = None,
    mode: str = "intra",
    form: str = "marginal",
    variance: str | float = "independent",
    alpha: float = 1.0,
    floor: float | None = None,
    sharpness: float = 0.0,
    activation: str = "softmax",
    reduction: str = "mean",
    backend: str = "auto",
    inplace_backward: bool = False,
    validate: bool = False,
) -> Tensor:
    r"""Match the class fractions a network predicts in blocks to the fractions that are known of the blocks.

    :func:`label_super_resolution_loss` with a target of its own for each block, eta_kl and rho_kl, in place of
    its label's. Groups compare residuals r_kl = mu_kl - eta_kl, by mean and variance over the group's blocks:

        d = -mean_k r_kl,   V_g = mean_k (r_kl - mean_k r_kl)^2,   r2 = mean_k (alpha rho_kl)^2

    Where the blocks of a group have equal targets this is the loss by label, value and gradient.

    Args:
        fractions: (N, L) known fractions of the classes in [0, 1], NaN = unknown: takes no part. (K, L) with
            ``block_ids``.
        std: (N, L) standard deviation of each, in [0, 1]; NaN here too leaves the fraction out,
            whatever the form; of a count see
            :func:`lsr_ext.distributions.binomial_std`.
        group: (N,) or (N, L) integers, blocks of equal id form one group. None: all blocks of the batch form one.

    The other arguments, the result and the errors are those of :func:`label_super_resolution_loss`.

    Example:
        >>> logits = torch.zeros(2, 2, 4, 4)  # half of each block is of class 0
        >>> known = torch.tensor([[0.5, 0.5], [float("nan"), 0.8]])
        >>> round(fraction_loss(logits, known, torch.full_like(known, 0.1), form="squared").item(), 6)
        0.03
    """
    options = _options(mode, form, variance, alpha, floor, sharpness, activation)
    beside = BlockTensors(group, mask, block_ids, class_weights, block_weights)
    return loss_by_options(
        logits, None, fractions, std, options, beside, reduction, backend, inplace_backward, validate
    )


def loss_by_options(
    logits: Tensor,
    labels: Tensor | None,
    mean: Tensor,
    std: Tensor,
    options: LossOptions,
    beside: BlockTensors,
    reduction: str,
    backend: str,
    inplace_backward: bool,
    validate: bool,
) -> Tensor:
    """Either loss, by the path that can take it; without labels mean and std are the blocks' own."""
    check_inputs(logits, labels, mean, std, options, beside)
    check_reduction(reduction)
    if validate:
        check_values(logits, labels, mean, std, options, beside)
    tables = mean, std, beside.class_weights, beside.block_weights
    # A compiled operator would drop the tangents of forward mode.
    in_forward_mode = torch.compiler.is_compiling() and any(map(_has_tangent, (logits, *tables)))
    if not _use_fused(backend, logits.device) or in_forward_mode:
        _check_range(logits, labels, mean, std, beside)
        return reference.label_super_resolution_loss(
            logits, labels, mean, std, **beside._asdict(), reduction=reduction, **options.chosen()
        )
    loss = None
    if reduction == "mean" and not _are_differentiated(tables):
        loss = ops.fused_loss(ops.loss_inputs(logits, labels, mean, std, options, beside), inplace_backward)
    if loss is not None:
        return loss
    _check_range(logits, labels, mean, std, beside)
    return _loss_of_sums(logits, labels, mean, std, options, beside, reduction)


def _has_tangent(tensor: Tensor | None) -> bool:
    return tensor is not None and unpack_dual(tensor).tangent is not None


def _are_differentiated(tables: tuple[Tensor | None, ...]) -> bool:
    """Whether a derivative by one of these is asked for, in reverse mode or forward mode."""
    by_gradient = torch.is_grad_enabled()
    for table in tables:
        if table is None:
            continue
        if (by_gradient and table.requires_grad) or _has_tangent(table):
            return True
    return False


def _check_range(logits: Tensor, labels: Tensor | None, mean: Tensor, std: Tensor, beside: BlockTensors) -> None:
    """Raise on the host what the fused operator raises there."""
    blocks = len(mean if labels is None else labels)
    checks = [
        partial(check_not_negative, getattr(beside, name), name) for name in ("class_weights", "block_weights")
    ]
    checks.append(partial(check_targets, labels, mean, std))
    if labels is not None:
        checks.append(partial(check_labels, labels, len(mean)))
    if beside.block_ids is not None:
        checks.append(partial(check_block_ids, beside.block_ids, blocks))
    check_where_free(logits.device, *checks)


def _loss_of_sums(
    logits: Tensor,
    labels: Tensor | None,
    mean: Tensor,
    std: Tensor,
    options: LossOptions,
    beside: BlockTensors,
    reduction: str,
) -> Tensor:
    """The kernels for the pixels and plain PyTorch for their sums: what the fused operator has no gradient for."""
    blocks = len(mean if labels is None else labels)
    sums = ops.block_moments(ops.MomentInputs(logits, beside.mask, beside.block_ids, blocks, options.activation))
    tables = {name: getattr(beside, name) for name in ("group", "class_weights", "block_weights")}
    loss = reference.table_loss(*sums, labels, mean, std, options, **tables, reduction=reduction)
    return loss.to(torch.promote_types(logits.dtype, torch.float32))
