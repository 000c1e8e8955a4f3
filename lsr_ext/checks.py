"""What the losses accept: shapes and dtypes always, values only on request or where looking is free."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lsr_ext.options import ACTIVATIONS, FORMS_OVER_STD, REDUCTIONS, LossOptions

LOGIT_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LABEL_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class BlockTensors(NamedTuple):
    """What a loss may be given beside the logits and the targets, each or None."""

    group: Tensor | None = None
    mask: Tensor | None = None
    block_ids: Tensor | None = None
    class_weights: Tensor | None = None
    block_weights: Tensor | None = None


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def check_logits(logits: Tensor, mask: Tensor | None, block_ids: Tensor | None, activation: str) -> None:
    """Raise unless logits are (N,L,H,W) floats, and mask and block_ids (N,H,W) bool and int32 on their device."""
    if logits.ndim != 4:
        raise ValueError(f"logits must have shape (N, L, H, W), got {_shape(logits)}")
    if logits.dtype not in LOGIT_DTYPES:
        raise TypeError(f"logits must be float32, float64, bfloat16 or float16, got {logits.dtype}")
    if activation == "softmax" and logits.shape[1] < 2:
        raise ValueError(f"softmax needs at least 2 classes, got {logits.shape[1]}: use activation='sigmoid'")
    if logits.shape[1] < 1:
        raise ValueError(f"logits need at least one class, got shape {_shape(logits)}")
    if mask is not None:
        _check_map("mask", mask, torch.bool, logits)
    if block_ids is not None:
        _check_map("block_ids", block_ids, torch.int32, logits)


def _check_map(name: str, given: Tensor, dtype: torch.dtype, logits: Tensor) -> None:
    pixels = (logits.shape[0], *logits.shape[2:])
    if given.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {given.dtype}")
    if given.shape != pixels:
        raise ValueError(f"{name} must have the logits' (N, H, W) = {pixels}, got {_shape(given)}")


def check_inputs(
    logits: Tensor, labels: Tensor | None, mean: Tensor, std: Tensor, options: LossOptions, beside: BlockTensors
) -> None:
    """Raise unless the arguments of the loss agree in rank, shape, dtype and device; values are not read.

    Without labels mean and std are the blocks' own fractions and their standard deviations. Each call of the loss
    waits for these checks, so they look at as little as they can.
    """
    group, mask, block_ids, class_weights, block_weights = beside
    _check_tensors(logits, mean, std, labels, beside)
    check_logits(logits, mask, block_ids, options.activation)
    images, classes, _, _ = logits.shape
    if labels is not None:
        _check_labels(labels, images, classes, block_ids)
    if mean.shape != std.shape or mean.ndim != 2 or mean.shape[1] != classes:
        _refuse_shapes(labels, mean, std, classes)
    blocks = (mean if labels is None else labels).shape[0]
    if not (mean.is_floating_point() and std.is_floating_point()):
        name, table = ("std", std) if mean.is_floating_point() else (_target_name(labels), mean)
        raise TypeError(f"{name} must be a float tensor, got {table.dtype}")
    if block_ids is None and blocks != images:
        raise ValueError(
            f"{'labels' if labels is not None else 'fractions'} are given for {blocks} blocks, logits for {images}"
        )
    if group is not None:
        _check_group(group, blocks, classes)
    if class_weights is not None:
        _check_weights("class_weights", class_weights, classes)
    if block_weights is not None:
        _check_weights("block_weights", block_weights, blocks)


def check_moment_inputs(
    logits: Tensor, mask: Tensor | None, block_ids: Tensor | None, blocks: int | None, activation: str
) -> None:
    """Raise unless the arguments of the block sums agree; values are not read."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a tensor, got {type(logits).__name__}")
    for name, tensor in (("mask", mask), ("block_ids", block_ids)):
        if tensor is not None:
            _check_tensor(name, tensor, logits.device)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    check_logits(logits, mask, block_ids, activation)
    if (block_ids is None) != (blocks is None):
        raise ValueError("block_ids and num_blocks go together: give both or neither")
    if blocks is not None and not (isinstance(blocks, (int, torch.SymInt)) and blocks >= 0):
        raise ValueError(f"num_blocks must be an integer >= 0, got {blocks!r}")


def _check_tensors(logits: Tensor, mean: Tensor, std: Tensor, labels: Tensor | None, beside: BlockTensors) -> None:
    """Raise unless all that is given to the loss are tensors on one device."""
    for name, tensor in (("logits", logits), (_target_name(labels), mean), ("std", std)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    device = logits.device
    for place, tensor in enumerate((mean, std, labels, *beside)):
        if tensor is None:
            continue
        _check_tensor((_target_name(labels), "std", "labels", *BlockTensors._fields)[place], tensor, device)


def _check_tensor(name: str, tensor: object, device: torch.device) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.device != device:
        raise ValueError(f"{name} must be on the logits' device, {device}, got {tensor.device}")


def check_have_labels(labels: Tensor | None) -> None:
    """Raise where there are no labels: the targets of labels would be taken for the blocks' own."""
    if labels is None:
        raise TypeError("labels must be a tensor, got NoneType; where fractions are known use the fraction loss")


def _target_name(labels: Tensor | None) -> str:
    return "fractions" if labels is None else "mean"


def _refuse_shapes(labels: Tensor | None, mean: Tensor, std: Tensor, classes: int) -> None:
    """Raise what is wrong with the targets' shapes."""
    rows = "Z" if labels is not None else "N"
    for name, table in ((_target_name(labels), mean), ("std", std)):
        if table.ndim != 2 or table.shape[1] != classes:
            raise ValueError(f"{name} must have shape ({rows}, L) with L = {classes}, got {_shape(table)}")
    raise ValueError(f"{_target_name(labels)} and std must have one shape, got {_shape(mean)} and {_shape(std)}")


def _check_labels(labels: Tensor, images: int, classes: int, block_ids: Tensor | None) -> None:
    if labels.dtype not in LABEL_DTYPES:
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    shape = labels.shape
    if len(shape) not in (1, 2):
        raise ValueError(f"labels must have shape (N,) or (N, L), got {_shape(labels)}")
    if block_ids is None and shape[0] != images:
        raise ValueError(f"labels are given for {shape[0]} blocks, logits for {images}")
    if len(shape) == 2 and shape[1] != classes:
        raise ValueError(f"labels are given for {shape[1]} classes, logits for {classes}")


def _check_group(group: Tensor, blocks: int, classes: int) -> None:
    if group.dtype not in LABEL_DTYPES:
        raise TypeError(f"group must be integers, got {group.dtype}")
    if group.shape not in ((blocks,), (blocks, classes)):
        raise ValueError(f"group must have shape ({blocks},) or ({blocks}, {classes}), got {_shape(group)}")


def _check_weights(name: str, weights: Tensor, length: int) -> None:
    if weights.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {_shape(weights)}")
    if not weights.is_floating_point():
        raise TypeError(f"{name} must be a float tensor, got {weights.dtype}")


def check_values(
    logits: Tensor, labels: Tensor | None, mean: Tensor, std: Tensor, options: LossOptions, beside: BlockTensors
) -> None:
    """Raise where a value is out of its range, naming the block. Reads every pixel and synchronises."""
    if labels is None:
        check_fractions(mean, std, options.form)
    else:
        check_distribution(mean, std, options.form)
        check_labels(labels, len(mean))
    for name in ("class_weights", "block_weights"):
        if (weights := getattr(beside, name)) is not None:
            check_weights(weights, name)
    mask, block_ids = beside.mask, beside.block_ids
    finite = logits.isfinite().all(1)
    if mask is not None:
        finite |= ~mask
    if block_ids is not None:
        finite |= block_ids < 0
    bad = (~finite).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"logits must be finite, got NaN or infinity in image(s) {bad}")
    blocks = len(mean if labels is None else labels)
    if block_ids is not None:
        check_block_ids(block_ids, blocks)
        used = block_ids[block_ids >= 0] if mask is None else block_ids[mask & (block_ids >= 0)]
        pixels = torch.bincount(used, minlength=blocks)
    elif mask is not None:
        pixels = mask.sum((1, 2))
    else:
        return
    empty = (pixels == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"every block needs at least one valid pixel, block(s) {empty} have none")


def check_block_ids(block_ids: Tensor, blocks: int) -> None:
    """Raise where a pixel names a block that there is not."""
    largest = int(block_ids.max()) if block_ids.numel() else -1
    if largest >= blocks:
        raise ValueError(f"block_ids must be below the {blocks} blocks, got {largest}")


def check_reduction(reduction: str) -> None:
    """Raise unless the reduction is one that there is."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def check_weights(weights: Tensor, name: str) -> None:
    """Raise unless weights are finite, at least 0, and not all 0."""
    values = weights.detach()
    if not bool((values.isfinite() & (values >= 0)).all()) or not bool((values > 0).any()):
        raise ValueError(f"{name} must be finite numbers >= 0, one at least above 0, got {values.tolist()}")


def check_where_free(device: torch.device, *checks: Callable[[], None]) -> None:
    """Make checks of values where looking is free: not on a GPU, in a compiled call or at a sample of vmap."""
    if device.type != "cpu" or torch.compiler.is_compiling():
        return
    for check in checks:
        try:
            check()
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise


def check_targets(labels: Tensor | None, mean: Tensor, std: Tensor) -> None:
    """Raise where a target is out of its range. NaN is no number that could be, and what is learnt may pass it."""
    for name, table, most in ((_target_name(labels), mean, 1.0), ("std", std, math.inf)):
        values = table.detach()
        outside = values[(values < 0) | (values > most)]
        if len(outside) and not table.requires_grad:
            raise ValueError(f"{name} must lie in [0, {most:g}], got {outside[0]:g}")


def check_not_negative(weights: Tensor | None, name: str) -> None:
    """Raise where a weight is below 0, which has no meaning."""
    if weights is not None and weights.numel() and float(weights.detach().min()) < 0:
        raise ValueError(f"{name} must be >= 0, got {float(weights.detach().min()):g}")


def check_labels(labels: Tensor, count: int) -> None:
    """Raise unless every label is -1 (unknown) or below the number of labels of the distribution."""
    labels = labels.long()  # of unsigned numbers all would be below -1
    outside = ((labels >= count) | (labels < -1)).nonzero().tolist()
    if outside:
        where = tuple(outside[0])
        raise ValueError(f"labels must lie in [-1, {count - 1}], got {int(labels[where])} for block {where[0]}")


def check_fractions(fractions: Tensor, std: Tensor, form: str) -> None:
    """Raise unless what is known of the blocks' own targets is in range; NaN = unknown."""
    known = ~(fractions.isnan() | std.isnan())
    for name, values in (("fractions", fractions), ("std", std)):
        outside = (known & ~((values >= 0) & (values <= 1))).nonzero().tolist()
        if outside:
            k, cls = outside[0]
            raise ValueError(
                f"{name} must lie in [0, 1] or be NaN, got {values[k, cls]:g} for block {k}, class {cls}"
            )
    if form in FORMS_OVER_STD and bool((known & ~(std > 0)).any()):
        raise ValueError(f"form {form!r} needs std > 0 wherever a fraction is known")


def check_distribution(mean: Tensor, std: Tensor, form: str) -> None:
    """Raise unless 0 <= mean <= 1 and std >= 0, and std > 0 for the forms that divide by it."""
    if not bool(((mean >= 0) & (mean <= 1)).all()):
        raise ValueError(f"mean must lie in [0, 1], got values from {mean.min():g} to {mean.max():g}")
    if not bool((std >= 0).all()):
        raise ValueError(f"std must be >= 0, got {std.min():g}")
    if form in FORMS_OVER_STD and not bool((std > 0).all()):
        raise ValueError(f"form {form!r} needs std > 0 for every label and class, got {std.min():g}")
