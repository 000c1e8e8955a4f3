"""A progress bar for long work: only on a terminal, and only one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
_showing: ContextVar[bool] = ContextVar("showing", default=False)


def hide_progress() -> None:
    """Show no bars in this process from now on."""
    _showing.set(True)


def track_progress(
    items: Iterable[Item], description: str, *, total: int | None = None, done: int = 0, least: int = 16
) -> Iterator[Item]:
    """Yield the items and show a bar on standard error meanwhile.

    Args:
        items: what to iterate over.
        description: the text beside the bar.
        total: number of items, those done before included; by default the length of `items`, if it has one.
        done: number of items done before.
        least: show no bar for fewer items than this.

    Example:
        >>> list(track_progress("abc", "reading"))
        ['a', 'b', 'c']
    """
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None
    console = Console(stderr=True)
    if not console.is_terminal or _showing.get() or (total is not None and total < least):
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    token = _showing.set(True)
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(description, total=total, completed=done)
            for item in items:
                yield item
                bar.advance(task)
    finally:
        _showing.reset(token)
