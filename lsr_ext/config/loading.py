"""Reading a configuration from YAML: presets below, overrides above, and faults named by file and key."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lsr_ext.config.presets import PRESETS
from lsr_ext.config.run import RunConfig
from lsr_ext.faults import describe_faults

# Keys that were renamed: the old one still works, with a warning.
RENAMED = {"evaluation.part": "evaluation.split"}


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a configuration from YAML.

    Args:
        path: the file; `data.root` in it is relative to the file's folder.
        overrides: dotted keys and values that replace the file's, such as {"data.root": "/cohort"}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no YAML mapping, or a key or value that is not allowed; the message names file and key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a configuration file, found none at {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable YAML ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    data = content.get("data")
    if isinstance(data, dict):
        # Absolute, so that a run is the same whatever folder it is started in.
        root = data.get("root")
        data["root"] = (path.parent / Path("." if root is None else str(root)).expanduser()).resolve()
    _resolve_weights(content, path.parent)
    preset = content.get("preset")
    content = _merge(PRESETS.get(preset, {}) if isinstance(preset, str) else {}, content)
    for key, value in (overrides or {}).items():
        content = _merge(content, _nest(key, value))
    content = _rename(content, path)
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        faults = describe_faults(error, "configuration", kinds=("data",))
        raise ValueError("\n".join(f"{path}: {line}" for line in faults)) from error


def _resolve_weights(content: dict[str, Any], folder: Path) -> None:
    """Make the file of a network's weights absolute: it is relative to the configuration's folder."""
    weights: Any = content
    for key in ("training", "network", "weights"):
        weights = weights.get(key) if isinstance(weights, dict) else None
    if isinstance(weights, dict) and isinstance(weights.get("file"), str):
        weights["file"] = str((folder / Path(weights["file"]).expanduser()).resolve())


def _merge(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        # A named optimizer comes with its own parameters, not with those of the one below.
        merged[key] = _merge(merged[key], value) if both and key != "optimizer" else value
    return merged


def _rename(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The content with today's keys in place of deprecated ones."""
    for old, new in RENAMED.items():
        (section, old_name), (_, new_name) = old.split("."), new.split(".")
        found = content.get(section)
        if not isinstance(found, dict) or old_name not in found:
            continue
        if new_name in found:
            raise ValueError(f"{path}: {new} and {old}, its old name, are both given: keep {new}")
        warnings.warn(f"{path}: {old} is now called {new}; the old name will go", FutureWarning, stacklevel=3)
        others = {name: value for name, value in found.items() if name != old_name}
        content = content | {section: {new_name: found[old_name]} | others}
    return content


def _nest(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value
