"""A network by its import path."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

# Whose classes a model file may name without being asked about: see `check_trusted`.
TRUSTED_PACKAGES = ("lsr_ext.networks", "monai.networks.nets", "segmentation_models_pytorch", "torch.nn")


def build_network(path: str, params: Mapping[str, Any]) -> nn.Module:
    """Import a class and call it.

    Args:
        path: such as "lsr_ext.networks.SegmentationUNet": a subclass of `torch.nn.Module`. Nothing else is called.
        params: its keyword arguments.

    Raises:
        ValueError: no such class, one that is no `torch.nn.Module`, or parameters that it does not take.

    Example:
        >>> build_network("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 2, "kernel_size": 1})
        Conv2d(3, 2, kernel_size=(1, 1), stride=(1, 1))
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"network: expected the import path of a class, got {path!r} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"network: expected a subclass of torch.nn.Module, got {path!r}")
    if params.get("encoder_weights"):
        raise ValueError(
            f"network: {path} would download encoder_weights {params['encoder_weights']!r}; "
            "give null, and a local file as training.network.weights"
        )
    try:
        return found(**params)
    except (TypeError, ValueError) as error:
        raise ValueError(f"network: {path} does not take {dict(params)} ({error})") from error


def check_trusted(path: str, packages: Sequence[str] = ()) -> None:
    """Refuse an import path from a file unless its package is trusted: importing a module runs its code.

    Args:
        path: of a class.
        packages: to trust beside `TRUSTED_PACKAGES`; a package includes what is inside it.

    Raises:
        ValueError: a path outside them.

    Example:
        >>> check_trusted("monai.networks.nets.UNet")
        >>> check_trusted("my_networks.Net", ["my_networks"])
    """
    trusted = (*TRUSTED_PACKAGES, *packages)
    if not any(path.startswith(f"{package}.") for package in trusted):
        raise ValueError(
            f"the network {path!r} is of none of the trusted packages {', '.join(trusted)}; importing it runs its "
            f"code: if you trust it, pass packages=[{path.rpartition('.')[0]!r}]"
        )
