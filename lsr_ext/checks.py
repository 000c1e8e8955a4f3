"""What the losses accept: shapes and dtypes always, values only on request or where looking is free."""

from __future__ import annotations

import torch
from torch import Tensor

from lsr_ext.options import LossOptions

LOGIT_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LABEL_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def check_logits(logits: Tensor, mask: Tensor | None, block_ids: Tensor | None, activation: str) -> None:
    """Raise unless logits are (N,L,H,W) floats, and mask and block_ids (N,H,W) bool and int32."""
    if logits.ndim != 4:
        raise ValueError(f"logits must have shape (N, L, H, W), got {_shape(logits)}")
    if logits.dtype not in LOGIT_DTYPES:
        raise TypeError(f"logits must be float32, float64, bfloat16 or float16, got {logits.dtype}")
    if activation == "softmax" and logits.shape[1] < 2:
        raise ValueError(f"softmax needs at least 2 classes, got {logits.shape[1]}: use activation='sigmoid'")
    pixels = (logits.shape[0], *logits.shape[2:])
    for name, tensor, dtype in (("mask", mask, torch.bool), ("block_ids", block_ids, torch.int32)):
        if tensor is None:
            continue
        if tensor.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
        if tensor.shape != pixels:
            raise ValueError(f"{name} must have the logits' (N, H, W) = {tuple(pixels)}, got {_shape(tensor)}")


def check_inputs(
    logits: Tensor,
    labels: Tensor,
    mean: Tensor,
    std: Tensor,
    group: Tensor | None,
    mask: Tensor | None,
    block_ids: Tensor | None,
    class_weights: Tensor | None,
    options: LossOptions,
) -> None:
    """Raise unless the arguments of the loss agree in rank, shape and dtype; values are not read."""
    check_logits(logits, mask, block_ids, options.activation)
    classes = logits.shape[1]
    if labels.dtype not in LABEL_DTYPES:
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.ndim not in (1, 2):
        raise ValueError(f"labels must have shape (N,) or (N, L), got {_shape(labels)}")
    blocks = labels.shape[0]
    if block_ids is None and blocks != logits.shape[0]:
        raise ValueError(f"labels are given for {blocks} blocks, logits for {logits.shape[0]}")
    if labels.ndim == 2 and labels.shape[1] != classes:
        raise ValueError(f"labels are given for {labels.shape[1]} classes, logits for {classes}")
    for name, table in (("mean", mean), ("std", std)):
        if table.ndim != 2 or table.shape[1] != classes:
            raise ValueError(f"{name} must have shape (Z, L) with L = {classes}, got {_shape(table)}")
        if not table.is_floating_point():
            raise TypeError(f"{name} must be a float tensor, got {table.dtype}")
    if mean.shape != std.shape:
        raise ValueError(f"mean and std must have one shape, got {_shape(mean)} and {_shape(std)}")
    if group is not None and group.dtype not in LABEL_DTYPES:
        raise TypeError(f"group must be integers, got {group.dtype}")
    if group is not None and group.shape not in ((blocks,), (blocks, classes)):
        raise ValueError(f"group must have shape ({blocks},) or ({blocks}, {classes}), got {_shape(group)}")
    if class_weights is not None and class_weights.shape != (classes,):
        raise ValueError(f"class_weights must have shape ({classes},), got {_shape(class_weights)}")


def check_values(
    logits: Tensor,
    labels: Tensor,
    mean: Tensor,
    std: Tensor,
    mask: Tensor | None,
    block_ids: Tensor | None,
    options: LossOptions,
) -> None:
    """Raise where a value is out of its range, naming the block. Reads every pixel and synchronises."""
    check_distribution(mean, std, options.form)
    check_labels(labels, len(mean))
    finite = logits.isfinite().all(1)
    if mask is not None:
        finite |= ~mask
    bad = (~finite).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"logits must be finite, got NaN or infinity in image(s) {bad}")
    blocks = len(labels)
    if block_ids is not None:
        if block_ids.numel() and int(block_ids.max()) >= blocks:
            raise ValueError(
                f"block_ids must be below the {blocks} blocks with labels, got {int(block_ids.max())}"
            )
        used = block_ids[block_ids >= 0] if mask is None else block_ids[mask & (block_ids >= 0)]
        pixels = torch.bincount(used, minlength=blocks)
    elif mask is not None:
        pixels = mask.sum((1, 2))
    else:
        return
    empty = (pixels == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"every block needs at least one valid pixel, block(s) {empty} have none")


def check_labels(labels: Tensor, count: int) -> None:
    """Raise unless every label is -1 (unknown) or below the number of labels of the distribution."""
    outside = ((labels >= count) | (labels < -1)).nonzero().tolist()
    if outside:
        where = tuple(outside[0])
        raise ValueError(f"labels must lie in [-1, {count - 1}], got {int(labels[where])} for block {where[0]}")


def check_distribution(mean: Tensor, std: Tensor, form: str) -> None:
    """Raise unless 0 <= mean <= 1 and std >= 0, and std > 0 for the forms that divide by it."""
    if not bool(((mean >= 0) & (mean <= 1)).all()):
        raise ValueError(f"mean must lie in [0, 1], got values from {mean.min():g} to {mean.max():g}")
    if not bool((std >= 0).all()):
        raise ValueError(f"std must be >= 0, got {std.min():g}")
    if form in ("kl", "reverse_kl") and not bool((std > 0).all()):
        raise ValueError(f"form {form!r} needs std > 0 for every label and class, got {std.min():g}")
