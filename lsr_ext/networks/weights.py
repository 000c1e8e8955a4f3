"""Weights from a local file for a network or a part of it, the parts that are not trained, and learning rates."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_MOST_NAMES = 5  # that are named in a message
_logger = logging.getLogger(__name__)


def load_weights(network: nn.Module, file: str | Path, part: str = "") -> None:
    """Load weights into a network or a part of it. Tensors of the file that the part does not have are logged.

    Args:
        network: changed in place.
        file: .safetensors, or a state dict by `torch.save`, which is read with `weights_only=True`.
        part: such as "encoder"; "": the whole network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such part, a file that cannot be read so, or weights that are missing or of another shape.
    """
    target, found = find_part(network, part), _read(Path(file))
    expected = target.state_dict()
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"{file}: {len(missing)} of {len(expected)} weights are missing: {_some(missing)}")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise ValueError(f"{file}: expected {name} of {tuple(tensor.shape)}, got {tuple(found[name].shape)}")
    if unused := sorted(found.keys() - expected.keys()):
        _logger.warning("%s: %d weights are not of the network: %s", file, len(unused), _some(unused))
    target.load_state_dict({name: found[name] for name in expected})


def find_part(network: nn.Module, name: str) -> nn.Module:
    """A part of a network by its name, such as "encoder" or "unet.conv_0"; "": the whole network.

    Raises:
        ValueError: no such part.
    """
    whole = getattr(network, "network", network)  # of an `AdaptedNetwork`
    try:
        return whole.get_submodule(name)
    except AttributeError as error:
        parts = ", ".join(child for child, _ in whole.named_children())
        raise ValueError(f"training.network: no part {name!r}; it has {parts or 'no parts'}") from error


def freeze(network: nn.Module, parts: Sequence[str]) -> None:
    """Exclude parts from training.

    Raises:
        ValueError: no such part, or nothing is left to train.
    """
    for part in parts:
        find_part(network, part).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("training.network: frozen leaves nothing to train")


def parameter_groups(network: nn.Module, learning_rates: Mapping[str, float]) -> list[dict[str, object]]:
    """The trained parameters for an optimizer: those of each named part with its learning rate, then the others.

    A parameter that is in two named parts has the rate of the smaller part, the one with the longer name.

    Raises:
        ValueError: no such part, or one without a trained parameter.
    """
    taken: set[int] = set()
    groups: list[dict[str, object]] = []
    for part in sorted(learning_rates, key=len, reverse=True):
        own = [p for p in find_part(network, part).parameters() if p.requires_grad and id(p) not in taken]
        if not own:
            raise ValueError(f"training.network: the part {part!r} has a learning rate and nothing to train")
        taken |= {id(parameter) for parameter in own}
        groups.append({"params": own, "lr": learning_rates[part]})
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in taken]
    return [*groups, {"params": rest}] if rest else groups


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"training.network.weights: expected a file of weights, found none at {file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{file}: not a file of weights that is safe to read ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file}: expected a state dict, names with tensors, got {type(content).__name__}")
    return dict(content)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
