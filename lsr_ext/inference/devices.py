"""Where a model predicts."""

from __future__ import annotations

import torch

_NAMES = {"gpu": "cuda"}


def choose_device(accelerator: str = "auto") -> torch.device:
    """The device that Lightning's name of an accelerator stands for.

    Args:
        accelerator: "auto": a CUDA device where there is one, otherwise the CPU; "cpu", "gpu", "cuda" or "mps".

    Raises:
        ValueError: another name, or a device that this machine does not have.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = _NAMES.get(accelerator, accelerator)
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name not in available:
        raise ValueError(f"accelerator: expected auto, cpu, gpu, cuda or mps, got {accelerator!r}")
    if not available[name]:
        raise ValueError(f"accelerator: {accelerator!r} is not available on this machine; use auto or cpu")
    return torch.device(name)


def choose_devices(names: str) -> list[torch.device]:
    """The devices of a list: "all": every CUDA device; or names with commas between, such as "cuda:0,cuda:1".

    Raises:
        ValueError: a name that is none, or a device that this machine does not have.

    Example:
        >>> choose_devices("cpu,cpu")
        [device(type='cpu'), device(type='cpu')]
    """
    if names == "all":
        count = torch.cuda.device_count()
        return [torch.device("cuda", index) for index in range(count)] or [choose_device("auto")]
    devices = []
    for name in names.split(","):
        kind, _, index = name.strip().partition(":")
        device = choose_device(kind)
        if index:
            if not index.isdecimal() or device.type != "cuda" or int(index) >= torch.cuda.device_count():
                raise ValueError(f"device: expected one of this machine's, got {name!r}")
            device = torch.device("cuda", int(index))
        devices.append(device)
    return devices
