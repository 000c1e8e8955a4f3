"""A bounded cache that makes each thing once: decoded tiles by their bytes, open slides by their number."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakSet

_REMEMBERED = 4096  # keys of values that were made once and not kept
_caches: WeakSet[Cache] = WeakSet()


class Cache:
    """Least recently used values, up to a budget.

    Safe under threads: when several ask for a value that is not there, one makes it and the others wait. A
    forked child starts empty: another thread may have been changing a value at the moment of the fork.

    Args:
        budget: the largest sum of sizes to hold; a value above it is made and handed out, not kept.
        size: of a value, in the unit of the budget.
    """

    def __init__(self, budget: int, size: Callable[[Any], int]) -> None:
        self._size_of = size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._being_made: dict[Hashable, _Making] = {}
        self._seen: OrderedDict[Hashable, bool] = OrderedDict()
        self._held = 0
        self._hits = self._misses = 0
        self._budget = budget
        _caches.add(self)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of `key`, made now if it is not held; what `make` raises is raised for all who wait."""
        return self._get(key, make, keep=True)[0]

    def get_once(self, key: Hashable, make: Callable[[], Any]) -> tuple[Any, bool]:
        """As `get`, for a value that will hardly be asked for again: kept from the second time on.

        Returns:
            The value, and whether the caller is the only one to have it.
        """
        return self._get(key, make, keep=False)

    def _get(self, key: Hashable, make: Callable[[], Any], keep: bool) -> tuple[Any, bool]:
        with self._lock:
            held = self._values.get(key)
            if held is not None:
                self._values.move_to_end(key)
                self._hits += 1
                return held[0], False
            making = self._being_made.get(key)
            mine = making is None
            if mine:
                making = self._being_made[key] = _Making()
                self._misses += 1
                keep = keep or self._seen_before(key)
            else:
                making.expect()
        if not mine:
            return making.wait(), False
        try:
            value = making.value = make()
        except BaseException as error:
            making.error = error
            self._finish(key, making, keep=False)
            # The error knows this frame: without a name for its holder there is no cycle to keep handles open.
            del making
            raise
        self._finish(key, making, keep)
        return value, not keep and making.done is None

    def _seen_before(self, key: Hashable) -> bool:
        if self._seen.pop(key, False):
            return True
        self._seen[key] = True
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def discard(self, matches: Callable[[Hashable], bool]) -> None:
        """Forget the values whose key matches."""
        with self._lock:
            for key in [key for key in self._values if matches(key)]:
                self._held -= self._values.pop(key)[1]
            for key in [key for key in self._seen if matches(key)]:
                del self._seen[key]

    @property
    def budget(self) -> int:
        return self._budget

    def set_budget(self, budget: int) -> None:
        """Change the budget, dropping what no longer fits.

        Raises:
            ValueError: a negative budget.
        """
        if budget < 0:
            raise ValueError(f"expected a budget of at least 0, got {budget}")
        with self._lock:
            self._budget = budget
            self._evict()

    def stats(self) -> dict[str, int]:
        """What is held now (`values`, `size`), and `hits` and `misses` so far."""
        with self._lock:
            return {
                "values": len(self._values),
                "size": self._held,
                "hits": self._hits,
                "misses": self._misses,
            }

    def _finish(self, key: Hashable, making: _Making, keep: bool) -> None:
        size = self._size_of(making.value) if keep else None
        with self._lock:
            # A fork or a discard may have come between: then the key is someone else's by now.
            if self._being_made.get(key) is making:
                del self._being_made[key]
                if size is not None and size <= self._budget:
                    self._values[key] = making.value, size
                    self._held += size
                    self._evict()
        if making.done is not None:
            making.done.set()

    def _evict(self) -> None:
        while self._held > self._budget:
            self._held -= self._values.popitem(last=False)[1][1]

    def _restart(self) -> None:
        self._lock = threading.Lock()
        self._values, self._being_made, self._held = OrderedDict(), {}, 0
        self._seen.clear()


class _Making:
    """A value on its way; `done` is there once somebody waits for it."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done: threading.Event | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    def expect(self) -> None:
        """Say that somebody will wait; under the cache's lock."""
        if self.done is None:
            self.done = threading.Event()

    def wait(self) -> Any:
        self.done.wait()
        error, value = self.error, self.value
        if error is None:
            return value
        try:
            raise error
        finally:
            del self, error  # as above


def _before_fork() -> None:
    for cache in _caches:
        cache._lock.acquire()


def _after_fork_in_parent() -> None:
    for cache in _caches:
        cache._lock.release()


def _after_fork_in_child() -> None:
    for cache in _caches:
        cache._restart()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
