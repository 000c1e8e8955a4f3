"""A progress bar for work that may be long: on a terminal only, and one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
_showing: ContextVar[bool] = ContextVar("showing", default=False)


def told(items: Sequence[Item], description: str, least: int = 16) -> Iterator[Item]:
    """The items, with a bar on standard error if there are `least` or more and no bar is shown yet."""
    if _showing.get() or len(items) < least:
        yield from items
        return
    token = _showing.set(True)
    try:
        yield from track(items, description, console=Console(stderr=True), transient=True)
    finally:
        _showing.reset(token)
