"""A network by its import path."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn


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
    try:
        return found(**params)
    except (TypeError, ValueError) as error:
        raise ValueError(f"network: {path} does not take {dict(params)} ({error})") from error
