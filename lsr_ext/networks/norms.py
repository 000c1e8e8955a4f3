"""Norms that groups of one label do not disturb, in place of BatchNorm."""

from __future__ import annotations

import torch
from monai.networks.utils import set_named_module
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

_MOST_GROUPS = 8
_LEAST_STD = 1e-4


class ActNorm(nn.Module):
    """A scale and shift per channel, fitted once to data and then learned.

    Kingma and Dhariwal, Glow, NeurIPS 2018. Unlike GroupNorm it leaves a block its mean, and unlike BatchNorm it
    knows no batch.

    Args:
        channels: C.

    Attributes:
        is_fitted: whether `fit_norms` leaves it as it is.

    Shape:
        (N, C, H, W) -> the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.is_fitted = False

    def fit(self, features: Tensor) -> None:
        """Choose scale and shift so that each channel of these features (N, C, H, W) gets mean 0 and std 1."""
        std, mean = torch.std_mean(features, (0, 2, 3))
        with torch.no_grad():
            self.weight.copy_(1 / std.clamp(min=_LEAST_STD))
            self.bias.copy_(-mean * self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Scaled and shifted features."""
        return features * self.weight[:, None, None] + self.bias[:, None, None]


def fit_norms(network: nn.Module, images: Tensor) -> None:
    """Fit every `ActNorm` that is not fitted to what it gets of these images (N, C, H, W), layer after layer."""
    hooks = [
        module.register_forward_pre_hook(lambda norm, features: norm.fit(features[0]))
        for module in network.modules()
        if isinstance(module, ActNorm) and not module.is_fitted
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()


def replace_batch_norms(network: nn.Module, norm: str | None) -> None:
    """Put another norm in the place of every BatchNorm of a network.

    Args:
        network: changed in place.
        norm: "group": GroupNorm with BatchNorm's scale and shift. "affine": `ActNorm` that starts as BatchNorm is
            in testing; one that has seen no data yet is left to `fit_norms`. None: a network with BatchNorm is
            refused.

    Raises:
        ValueError: the network has BatchNorm and `norm` is None.
    """
    found = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    if found and norm is None:
        raise ValueError(
            f"training.network: it has {len(found)} BatchNorm layers, the first at {next(iter(found))!r}. Batches "
            "of groups of one label give the label away through their statistics, and predictions differ from "
            "training. Set norm: group, or norm: affine to keep what pretrained weights know"
        )
    make = _to_group_norm if norm == "group" else _to_act_norm
    for name, module in found.items():
        if isinstance(module, _LazyNormBase):
            raise ValueError(f"training.network: the norm {name!r} is lazy: its channels are not known")
        set_named_module(network, name, make(module))


def _to_group_norm(old: _BatchNorm) -> nn.GroupNorm:
    groups = max(number for number in range(1, _MOST_GROUPS + 1) if old.num_features % number == 0)
    new = nn.GroupNorm(groups, old.num_features, eps=old.eps)
    if old.affine:
        with torch.no_grad():
            new.weight.copy_(old.weight)
            new.bias.copy_(old.bias)
    return new


def _to_act_norm(old: _BatchNorm) -> ActNorm:
    new = ActNorm(old.num_features)
    if not old.track_running_stats or old.running_mean.is_meta:  # on "meta" only the shapes are wanted
        return new
    has_seen_data = bool((old.running_mean != 0).any() or (old.running_var != 1).any())
    new.is_fitted = has_seen_data
    if not has_seen_data:
        return new
    with torch.no_grad():
        scale = (old.running_var + old.eps).rsqrt() * (old.weight if old.affine else 1)
        new.weight.copy_(scale)
        new.bias.copy_((old.bias if old.affine else 0) - old.running_mean * scale)
    return new
