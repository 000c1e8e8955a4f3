"""A bounded cache that makes each value once: decoded tiles, limited by bytes; open slides, limited by number."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple
from weakref import WeakSet

_MEMORY = 16  # number of values over which the share of reused values is averaged
_WORTH_KEEPING = 0.4  # smallest such share: about the saving of a part of a tile over the whole
_caches: WeakSet[Cache] = WeakSet()


class Keep(Enum):
    """Which values a claim keeps after they are made."""

    ALWAYS = auto()
    IF_IT_PAYS = auto()  # at once, while most values kept this way were reused; otherwise as below
    FROM_SECOND_TIME = auto()


class AbandonedError(Exception):
    """The thread that was making the value gave up, perhaps for a reason unrelated to this value."""


class Claim(NamedTuple):
    """The result of `Cache.claim`.

    Attributes:
        held: the values that are in the cache.
        mine: values that the caller must make, and then `settle` or `abandon`.
        awaited: values that other threads are making: `wait` returns them. Settle your own first.
        passing: values that the caller makes only for itself.
    """

    held: dict[Hashable, Any]
    mine: dict[Hashable, Making]
    awaited: dict[Hashable, Making]
    passing: set[Hashable]


class Cache:
    """Least recently used values, up to a budget.

    Thread-safe: if several threads need a value that is not in the cache, one makes it and the others wait. A
    forked child starts with an empty cache, because another thread may have been changing a value during the fork.

    Args:
        budget: the largest sum of sizes to hold; a larger value is made and returned, but not kept.
        size: function that gives the size of a value, in the unit of the budget.
    """

    def __init__(self, budget: int, size: Callable[[Any], int]) -> None:
        self._size_of = size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, _Held] = OrderedDict()
        self._being_made: dict[Hashable, Making] = {}
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._held = 0
        self._hits = self._misses = 0
        self._budget = budget
        self._reuse = 1.0
        _caches.add(self)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value of `key`, made now if it is not held; errors of `make` reach all waiting threads."""
        with self._lock:
            held = self._values.get(key)
            if held is not None:
                self._hits += 1
                return self._use(key, held)
        claim = self.claim({key: Keep.ALWAYS})
        if key in claim.held:
            return claim.held[key]
        if key in claim.awaited:
            return claim.awaited[key].wait()
        try:
            value = make()
        except BaseException as error:
            self._fail(claim.mine, error)
            # The error refers to this frame: deleting the name avoids a reference cycle that would keep handles
            # open.
            del claim
            raise
        self.settle(claim.mine, {key: value})
        return value

    def claim(self, keys: Mapping[Hashable, Keep], size: int = 1) -> Claim:
        """Divide many values between threads at once: which thread makes which value.

        Args:
            keys: keys, and whether to keep their values.
            size: approximate size of each value: only as many keys are remembered as values of this size fit.
        """
        claim = Claim({}, {}, {}, set())
        with self._lock:
            for key, keep in keys.items():
                held = self._values.get(key)
                making = self._being_made.get(key)
                if held is not None:
                    claim.held[key] = self._use(key, held)
                elif making is not None:
                    making.expect()
                    claim.awaited[key] = making
                elif self._keeps(key, keep, size):
                    claim.mine[key] = self._being_made[key] = Making()
                else:
                    claim.passing.add(key)
            self._hits += len(claim.held)
            self._misses += len(claim.mine) + len(claim.passing)
        return claim

    def settle(self, mine: Mapping[Hashable, Making], values: Mapping[Hashable, Any]) -> None:
        """Store the values that were made for a claim's `mine`, and give them to the waiting threads."""
        with self._lock:
            for key, making in mine.items():
                making.value = value = values[key]
                # After a fork or a discard in the meantime, another thread may own the key.
                if self._being_made.get(key) is not making:
                    continue
                del self._being_made[key]
                size = self._size_of(value)
                if size <= self._budget:
                    self._values[key] = _Held(value, size)
                    self._held += size
            self._evict()
        _announce(mine)

    def abandon(self, mine: Mapping[Hashable, Making]) -> None:
        """Give up a claim's `mine`: threads that wait for one get an `AbandonedError`."""
        self._fail(mine, AbandonedError())

    def _fail(self, mine: Mapping[Hashable, Making], error: BaseException) -> None:
        with self._lock:
            for key, making in mine.items():
                making.error = error
                if self._being_made.get(key) is making:
                    del self._being_made[key]
        _announce(mine)

    def _use(self, key: Hashable, held: _Held) -> Any:
        self._values.move_to_end(key)
        if not held.used:
            held.used = True
            self._note(reused=True)
        return held.value

    def _keeps(self, key: Hashable, keep: Keep, size: int) -> bool:
        if keep is Keep.ALWAYS:
            return True
        if key in self._seen:
            del self._seen[key]
            self._note(reused=True)
            return True
        if keep is Keep.IF_IT_PAYS and self._reuse > _WORTH_KEEPING:
            return True
        self._seen[key] = None
        while len(self._seen) * size > self._budget:
            self._seen.popitem(last=False)
            self._note(reused=False)
        return False

    def _note(self, reused: bool) -> None:
        """Update the running mean of the share of values that were, or could have been, reused."""
        self._reuse += (reused - self._reuse) / _MEMORY

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def discard(self, matches: Callable[[Hashable], bool]) -> None:
        """Remove the values whose key matches."""
        with self._lock:
            for key in [key for key in self._values if matches(key)]:
                self._held -= self._values.pop(key).size
            for key in [key for key in self._seen if matches(key)]:
                del self._seen[key]
            for key in [key for key in self._being_made if matches(key)]:
                del self._being_made[key]  # returned when made, but not kept

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
        """Return what is held now (`values`, `size`), and `hits` and `misses` so far."""
        with self._lock:
            return {
                "values": len(self._values),
                "size": self._held,
                "hits": self._hits,
                "misses": self._misses,
            }

    def _evict(self) -> None:
        while self._held > self._budget:
            dropped = self._values.popitem(last=False)[1]
            self._held -= dropped.size
            if not dropped.used:
                self._note(reused=False)

    def _restart(self) -> None:
        self._lock = threading.Lock()
        self._values, self._being_made, self._held = OrderedDict(), {}, 0
        self._seen.clear()


class _Held:
    """A value, and whether it was used again after it was made."""

    __slots__ = ("size", "used", "value")

    def __init__(self, value: Any, size: int) -> None:
        self.value, self.size, self.used = value, size, False


class Making:
    """A value that is being made; `done` exists as soon as a thread waits for it."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done: threading.Event | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    def expect(self) -> None:
        """Register a waiting thread; call it under the cache's lock."""
        if self.done is None:
            self.done = threading.Event()

    def wait(self) -> Any:
        """Wait for the value and return it.

        Raises:
            AbandonedError: the thread that was making it gave up.
            BaseException: an error of `make` in `Cache.get`.
        """
        self.done.wait()
        error, value = self.error, self.value
        if error is None:
            return value
        try:
            raise error
        finally:
            del self, error  # as above


def _announce(made: Mapping[Hashable, Making]) -> None:
    for making in made.values():
        if making.done is not None:
            making.done.set()


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
