"""The losses in plain PyTorch: the specification that every fast path is held to.

Stages, as everywhere in the package: pixels -> block moments -> statistics and matching -> loss.
Equation numbers are those of Zhao et al., "Label Super Resolution with Inter-Instance Loss".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lsr_ext.checks import check_inputs, check_values
from lsr_ext.options import LossOptions

SHARPNESS_OFFSET = 0.03
LEGACY_OFFSET = 1e-6


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
    p = x.softmax(1) if activation == "softmax" else x.sigmoid()
    q = p * (1 - p)
    valid = torch.ones_like(logits[:, 0], dtype=torch.bool) if mask is None else mask
    if block_ids is not None:
        return _moments_by_id(p, q, valid & (block_ids >= 0), block_ids, num_blocks)
    if mask is not None:
        # A masked pixel must leave no trace, whatever it holds: 0 * inf would.
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


def match(form: str, d: Tensor, s: Tensor, r2: Tensor) -> Tensor:
    """Distance between a predicted count N(eta - d, s) and the target N(eta, r2), elementwise."""
    if form == "paper":  # Eq. 5 and 9 as printed
        return 0.5 * s * d**2 / (r2 + s) ** 2 + 0.5 * torch.log(2 * math.pi * s)
    if form == "marginal":  # -log of the integral of the product of the two densities
        return 0.5 * d**2 / (r2 + s) + 0.5 * torch.log(2 * math.pi * (r2 + s))
    if form == "kl":  # KL(predicted || target)
        return 0.5 * ((s + d**2) / r2 - 1 - torch.log(s / r2))
    if form == "reverse_kl":  # KL(target || predicted)
        return 0.5 * ((r2 + d**2) / s - 1 + torch.log(s / r2))
    return d**2 + (s.sqrt() - r2.sqrt()) ** 2  # wasserstein, squared


def _match_blocks(options: LossOptions, d: Tensor, s: Tensor, r2: Tensor, q: Tensor) -> Tensor:
    """The matching of single blocks; q is Q/n, which the legacy form takes beside s."""
    if options.form == "legacy":
        return d**2 / (s + r2 + LEGACY_OFFSET) + torch.log(q + SHARPNESS_OFFSET)
    return match(options.form, d, s, r2)


def _match_groups(options: LossOptions, d: Tensor, s: Tensor, r2: Tensor) -> Tensor:
    """The matching of groups of blocks."""
    if options.form == "legacy":
        return s * d**2 / (s + r2 + LEGACY_OFFSET) ** 2 + torch.log(s + SHARPNESS_OFFSET)
    return match(options.form, d, s, r2)


def table_loss(
    n: Tensor,
    S: Tensor,
    Q: Tensor,
    labels: Tensor,
    mean: Tensor,
    std: Tensor,
    options: LossOptions,
    *,
    group: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The loss of a table of block sums: all of the paper, and nothing the size of a pixel.

    Args:
        n: (K,) valid pixels per block.
        S, Q: (K, L) sums of p and of p (1 - p).
        labels: (K,) or (K, L) low-resolution labels, -1 = unknown.
        mean, std: (Z, L) target mean and standard deviation of the class fraction, per label.
        group: (K,) or (K, L) group ids; blocks of equal id and equal label form one group.
        class_weights: (L,) weights of the classes in the mean.
    """
    cells = S.shape
    labels = _per_class(labels.long(), cells)
    known = (labels >= 0) & (n > 0)[:, None]
    z = labels.clamp(min=0)
    eta = mean.to(S.dtype).gather(0, z)
    # An unknown cell is given variances of 1, so that what is not counted is at least finite.
    r2 = torch.where(known, (options.alpha * std.to(S.dtype).gather(0, z)) ** 2, 1)
    weight = torch.ones_like(S) if class_weights is None else class_weights.to(S.dtype).expand(cells)
    weight = torch.where(known, weight, 0)

    pixels = n.clamp(min=1)[:, None]  # an empty block takes no part; 1 keeps it finite
    mu = S / pixels  # Eq. 3
    q = Q / pixels
    s = q / pixels.clamp(max=options.n_eff)  # Eq. 14-16, or Eq. 3 as printed where n_eff is 1
    floor = options.floor_rel * r2 + options.floor_abs

    if options.mode == "intra":
        s = torch.where(known, s + floor, 1)
        distance, share = _match_blocks(options, eta - mu, s, r2, q), weight
    else:
        same = _same_group(labels, known, group)
        members = same.sum(1).clamp(min=1)  # N_gl, at each of the group's blocks
        centre = _group_mean(mu, same, members)  # Eq. 8
        variance = _group_variance(mu, centre, same, members)
        if options.mode == "intra+inter":  # Eq. 11 and 18
            variance = variance + _group_mean(s, same, members)
        variance = torch.where(known, variance + floor, 1)
        distance = _match_groups(options, eta - centre, variance, r2)
        share = weight / members  # a group's blocks all carry its distance: count it once

    loss = _weighted_mean(distance, share)
    if options.sharpness:
        loss = loss + options.sharpness * _weighted_mean(torch.log(q + SHARPNESS_OFFSET), weight)
    return loss


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


def _group_mean(values: Tensor, same: Tensor, members: Tensor) -> Tensor:
    return torch.where(same, values[None], 0).sum(1) / members


def _group_variance(mu: Tensor, centre: Tensor, same: Tensor, members: Tensor) -> Tensor:
    """Two passes: E[mu^2] - E[mu]^2 would cancel."""
    deviation = torch.where(same, mu[None] - centre[:, None], 0)
    return (deviation**2).sum(1) / members


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """The mean over known cells; 0 with a zero gradient where there are none."""
    total = weight.sum()
    values = torch.where(weight > 0, values, 0)
    return (values * weight).sum() / torch.where(total > 0, total, 1)


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
    validate: bool = False,
    **options: str | float | None,
) -> Tensor:
    """The loss by plain PyTorch; arguments as :func:`lsr_ext.functional.label_super_resolution_loss`."""
    chosen = LossOptions(**options)
    check_inputs(logits, labels, mean, std, group, mask, block_ids, class_weights, chosen)
    if validate:
        check_values(logits, labels, mean, std, mask, block_ids, chosen)
    n, S, Q = block_moments(logits, mask, chosen.activation, block_ids=block_ids, num_blocks=len(labels))
    loss = table_loss(n, S, Q, labels, mean, std, chosen, group=group, class_weights=class_weights)
    return loss.to(torch.promote_types(logits.dtype, torch.float32))
