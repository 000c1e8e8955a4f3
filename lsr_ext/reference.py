"""The losses in plain PyTorch: the specification that every fast path is held to.

Stages, as everywhere in the package: pixels -> block moments -> statistics and matching -> loss.
Equation numbers are those of Zhao et al., "Label Super Resolution with Inter-Instance Loss".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lsr_ext.options import LossOptions

SHARPNESS_OFFSET = 0.03
LEGACY_OFFSET = 1e-6
PROPORTION_OFFSET = 1e-6


def block_moments(
    logits: Tensor,
    mask: Tensor | None = None,
    activation: str = "softmax",
    *,
    block_ids: Tensor | None = None,
    num_blocks: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel counts and per-class sums over each block; see :func:`lsr_ext.functional.block_moments`."""
    x = logits if logits.dtype == torch.float64 else logits.float()
    valid = torch.ones_like(logits[:, 0], dtype=torch.bool) if mask is None else mask
    if block_ids is not None:
        valid = valid & (block_ids >= 0)
    if mask is not None or block_ids is not None:
        # A pixel that does not count must leave no trace, whatever it holds; of its gradient neither.
        x = torch.where(valid[:, None], x, 0)
    p = x.softmax(1) if activation == "softmax" else x.sigmoid()
    q = p * (1 - p)
    if block_ids is not None:
        return _moments_by_id(p, q, valid, block_ids, num_blocks)
    if mask is not None:
        p, q = (torch.where(valid[:, None], value, 0) for value in (p, q))
    wide = table_dtype(logits)
    n = valid.sum((1, 2)).to(wide)
    return n, p.sum((2, 3)).to(wide), q.sum((2, 3)).to(wide)


def _moments_by_id(
    p: Tensor, q: Tensor, valid: Tensor, block_ids: Tensor, num_blocks: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Moments per block id: pixels without a block are sent to an extra row that is dropped."""
    wide = table_dtype(p)
    rows = torch.where(valid, block_ids, num_blocks).long().flatten()
    n = p.new_zeros(num_blocks + 1, dtype=wide).index_add(0, rows, valid.flatten().to(wide))

    def per_block(values: Tensor) -> Tensor:
        pixels = torch.where(valid[:, None], values, 0).movedim(1, -1).flatten(0, -2).to(wide)
        return pixels.new_zeros(num_blocks + 1, pixels.shape[1]).index_add(0, rows, pixels)[:-1]

    return n[:-1], per_block(p), per_block(q)


def table_dtype(like: Tensor) -> torch.dtype:
    """The dtype of every table of block sums: float64, where the device has it."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def match(form: str, d: Tensor, s: Tensor, r2: Tensor, eta: Tensor) -> Tensor:
    """Distance between a predicted count N(eta - d, s) and the target N(eta, r2), elementwise."""
    if form == "paper":  # Eq. 5 and 9 as printed
        return 0.5 * s * d**2 / (r2 + s) ** 2 + 0.5 * torch.log(2 * math.pi * s)
    if form == "marginal":  # -log of the integral of the product of the two densities
        return 0.5 * d**2 / (r2 + s) + 0.5 * torch.log(2 * math.pi * (r2 + s))
    if form == "kl":  # KL(predicted || target)
        return 0.5 * ((s + d**2) / r2 - 1 - torch.log(s / r2))
    if form == "reverse_kl":  # KL(target || predicted)
        return 0.5 * ((r2 + d**2) / s - 1 + torch.log(s / r2))
    if form == "wasserstein":  # squared
        return d**2 + (s.sqrt() - r2.sqrt()) ** 2
    if form == "proportion":  # cross-entropy of the fractions
        return -eta * torch.log(eta - d + PROPORTION_OFFSET)
    if form == "squared":
        return d**2
    if form == "size":  # how far outside [eta - rho, eta + rho]
        rho = r2.sqrt()
        return (d - d.clamp(-rho, rho)) ** 2
    raise ValueError(f"no distance of the form {form!r}")


def _match_blocks(form: str, d: Tensor, s: Tensor, r2: Tensor, eta: Tensor, q: Tensor) -> Tensor:
    """The matching of single blocks; q is Q/n, which the legacy form takes beside s."""
    if form == "legacy":
        return d**2 / (s + r2 + LEGACY_OFFSET) + torch.log(q + SHARPNESS_OFFSET)
    return match(form, d, s, r2, eta)


def _match_groups(form: str, d: Tensor, s: Tensor, r2: Tensor, eta: Tensor) -> Tensor:
    """The matching of groups of blocks."""
    if form == "legacy":
        return s * d**2 / (s + r2 + LEGACY_OFFSET) ** 2 + torch.log(s + SHARPNESS_OFFSET)
    return match(form, d, s, r2, eta)


def table_loss(
    n: Tensor,
    S: Tensor,
    Q: Tensor,
    labels: Tensor | None,
    mean: Tensor,
    std: Tensor,
    options: LossOptions,
    *,
    group: Tensor | None = None,
    class_weights: Tensor | None = None,
    block_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The loss of a table of block sums: all of the paper, and nothing the size of a pixel.

    Differentiable by S, Q, mean, std and the weights.

    Args:
        n: (K,) valid pixels per block.
        S, Q: (K, L) sums of p and of p (1 - p).
        labels: (K,) or (K, L) low-resolution labels, -1 = unknown; one outside [-1, Z) makes the loss NaN. None:
            the blocks have targets of their own.
        mean, std: (Z, L) target mean and standard deviation of the class fraction, per label; without labels
            (K, L), NaN = unknown.
        group: (K,) or (K, L) group ids; blocks of equal id and equal label form one group.
        class_weights: (L,) weights of the classes in the mean.
        block_weights: (K,) weights of the blocks: one of weight 2 counts as two, one of weight 0 takes no part
            and has no gradient by its weight.
        reduction: "mean", or "none": (K,), each block's (its groups') mean over its known classes.
    """
    cells = S.shape
    blocks = torch.ones_like(S) if block_weights is None else _per_class(block_weights.to(S.dtype), cells)
    counted = ((n > 0)[:, None] & ~(blocks <= 0)).expand(cells)  # a weight of NaN takes part, and shows
    own_targets = labels is None
    if own_targets:
        labels = torch.zeros(cells, dtype=torch.int64, device=S.device)
        known = counted & ~mean.isnan() & ~std.isnan()
        eta, rho = mean.to(S.dtype), std.to(S.dtype)
    else:
        labels = _per_class(labels.long(), cells)
        outside = (labels < -1) | (labels >= len(mean))
        known = counted & (labels >= 0) & ~outside
        z = torch.where(known, labels, 0)
        eta, rho = mean.to(S.dtype).gather(0, z), std.to(S.dtype).gather(0, z)
    # An unknown cell is given variances of 1, so that what is not counted is at least finite.
    eta, rho = torch.where(known, eta, 0), torch.where(known, rho, 1)
    r2 = torch.where(known, (options.alpha * rho) ** 2, 1)
    weight = blocks if class_weights is None else blocks * class_weights.to(S.dtype)
    weight = torch.where(known, weight, 0)

    pixels = n.clamp(min=1)[:, None]  # an empty block takes no part; 1 keeps it finite
    mu = S / pixels  # Eq. 3
    q = Q / pixels
    s = q / pixels.clamp(max=options.n_eff)  # Eq. 14-16, or Eq. 3 as printed where n_eff is 1
    residual = mu - eta

    if options.mode == "intra":
        variance = torch.where(known, s + options.floor_rel * r2 + options.floor_abs, 1)
        distance, share = _match_blocks(options.form, -residual, variance, r2, eta, q), weight
    else:
        members = torch.where(_same_group(labels, known, group), blocks[None], 0)  # (K, K, L), by weight
        total = torch.where(known, members.sum(1), 1)  # N_gl, at each of the group's blocks
        centre = _group_mean(residual, members, total)  # Eq. 8
        if own_targets:  # a label's blocks all have the same
            eta = _group_mean(eta, members, total)
            r2 = torch.where(known, _group_mean(r2, members, total), 1)
        variance = _group_variance(residual, centre, members, total)
        if options.mode == "intra+inter":  # Eq. 11 and 18
            variance = variance + _group_mean(s, members, total)
        variance = torch.where(known, variance + options.floor_rel * r2 + options.floor_abs, 1)
        distance = _match_groups(options.form, torch.where(known, -centre, 0), variance, r2, eta)
        share = weight / total  # a group's blocks all carry its distance: count it once
        if reduction == "none":
            share = weight

    over = None if reduction == "mean" else 1
    loss = _weighted_mean(distance, share, over)
    if options.sharpness:
        loss = loss + options.sharpness * _weighted_mean(torch.log(q + SHARPNESS_OFFSET), weight, over)
    # Where nobody could look at labels without waiting, the result tells that some are out of range.
    return loss if own_targets else torch.where(outside.any(), torch.nan, loss)


def _per_class(table: Tensor, cells: torch.Size) -> Tensor:
    """(K,) or (K, L) as (K, L)."""
    return (table if table.ndim == 2 else table[:, None]).expand(cells)


def _same_group(labels: Tensor, known: Tensor, group: Tensor | None) -> Tensor:
    """(K, K, L): whether blocks i and j are members of one group for class l."""
    same = (labels[:, None] == labels[None]) & known[:, None] & known[None]
    if group is None:
        return same
    ids = _per_class(group, labels.shape)
    return same & (ids[:, None] == ids[None])


def _group_mean(values: Tensor, members: Tensor, total: Tensor) -> Tensor:
    return (torch.where(members > 0, values[None], 0) * members).sum(1) / total


def _group_variance(residual: Tensor, centre: Tensor, members: Tensor, total: Tensor) -> Tensor:
    """Two passes: E[r^2] - E[r]^2 would cancel."""
    deviation = torch.where(members > 0, residual[None] - centre[:, None], 0)
    return (deviation**2 * members).sum(1) / total


def _weighted_mean(values: Tensor, weight: Tensor, dim: int | None = None) -> Tensor:
    """The mean over known cells, of all or along a dimension; 0 with a zero gradient where there are none."""
    total = weight.sum(dim)
    # What has no weight may be infinite; where it is not, its weight still has a gradient.
    values = torch.where((weight > 0) | values.isfinite(), values, 0)
    return (values * weight).sum(dim) / torch.where(total > 0, total, 1)


def label_super_resolution_loss(
    logits: Tensor,
    labels: Tensor | None,
    mean: Tensor,
    std: Tensor,
    *,
    group: Tensor | None = None,
    mask: Tensor | None = None,
    block_ids: Tensor | None = None,
    class_weights: Tensor | None = None,
    block_weights: Tensor | None = None,
    reduction: str = "mean",
    **options: str | float | None,
) -> Tensor:
    """The loss by plain PyTorch; arguments as :func:`lsr_ext.functional.label_super_resolution_loss`.

    Without labels it is that of :func:`lsr_ext.functional.fraction_loss`: mean and std are the blocks' own.
    """
    chosen = LossOptions(**options)
    n, S, Q = block_moments(
        logits, mask, chosen.activation, block_ids=block_ids, num_blocks=len(mean if labels is None else labels)
    )
    loss = table_loss(
        n,
        S,
        Q,
        labels,
        mean,
        std,
        chosen,
        group=group,
        class_weights=class_weights,
        block_weights=block_weights,
        reduction=reduction,
    )
    return loss.to(torch.promote_types(logits.dtype, torch.float32))
