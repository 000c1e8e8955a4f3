"""What pydantic found wrong, in one line for each fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

_MOST_CHARACTERS = 200  # of a value, which a stranger's file may have written


def describe_faults(error: ValidationError, whole: str, kinds: Collection[str] = ()) -> list[str]:
    """Key, rule and, for a plain value, what came.

    Args:
        error: what pydantic raised.
        whole: what has the keys, for a fault of no single one.
        kinds: keys of a part that is one of several kinds, whose name pydantic puts behind the key.

    Example:
        >>> class Window(BaseModel):
        ...     side_px: int
        >>> try:
        ...     Window(side_px="wide")
        ... except ValidationError as error:
        ...     describe_faults(error, "window")
        ["side_px: Input should be a valid integer, unable to parse string as an integer, got 'wide'"]
    """
    lines = []
    for fault in error.errors():
        key, *rest = map(str, fault["loc"] or (whole,))
        key = ".".join([key, *(rest[1:] if key in kinds else rest)])
        lines.append(f"{key}: {fault['msg'].removeprefix('Value error, ')}{_came(fault['input'])}")
    return lines


def _came(value: Any) -> str:
    if isinstance(value, (Mapping, BaseModel)):
        return ""
    text = repr(value)
    return f", got {text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + ' ...'}"
