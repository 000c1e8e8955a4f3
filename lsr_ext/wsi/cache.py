"""A bounded cache that makes each thing once: decoded tiles by their bytes, open slides by their number."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple
from weakref import WeakSet

_MEMORY = 16  # values over which the share that is asked for again is averaged
_WORTH_KEEPING = 0.4  # of that share: about what a part of a tile costs less than the whole
_caches: WeakSet[Cache] = WeakSet()


class Keep(Enum):
    """Which values a claim keeps, once they are made."""

    ALWAYS = auto()
    IF_IT_PAYS = auto()  # at once, while most of what was kept so was asked for again; else as below
    FROM_SECOND_TIME = auto()


class AbandonedError(Exception):
    """Who was making the value has given up, for a reason that may be his own."""


class Claim(NamedTuple):
    """What `Cache.claim` found.

    Attributes:
        held: the values that are there.
        mine: to be made by the caller, who must then `settle` or `abandon` them.
        awaited: being made by others: `wait` gives them. Settle one's own first.
        passing: to be made by the caller for itself alone.
    """

    held: dict[Hashable, Any]
    mine: dict[Hashable, Making]
    awaited: dict[Hashable, Making]
    passing: set[Hashable]


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
        self._values: OrderedDict[Hashable, _Held] = OrderedDict()
        self._being_made: dict[Hashable, Making] = {}
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._held = 0
        self._hits = self._misses = 0
        self._budget = budget
        self._reuse = 1.0
        _caches.add(self)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of `key`, made now if it is not held; what `make` raises is raised for all who wait."""
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
            # The error knows this frame: without a name for its holder there is no cycle to keep handles open.
            del claim
            raise
        self.settle(claim.mine, {key: value})
        return value

    def claim(self, keys: Mapping[Hashable, Keep], size: int = 1) -> Claim:
        """Share out many values at once: who makes which.

        Args:
            keys: and whether to keep their values.
            size: of each, about: no more keys are remembered than values of that size could be held.
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
        """Keep and hand out what was made of a claim's `mine`."""
        with self._lock:
            for key, making in mine.items():
                making.value = value = values[key]
                # A fork or a discard may have come between: then the key is someone else's by now.
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
        """Give up a claim's `mine`: who waits for one gets an `AbandonedError`."""
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
        """Of what was kept, or might have been, how much is asked for again: a running mean."""
        self._reuse += (reused - self._reuse) / _MEMORY

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def discard(self, matches: Callable[[Hashable], bool]) -> None:
        """Forget the values whose key matches."""
        with self._lock:
            for key in [key for key in self._values if matches(key)]:
                self._held -= self._values.pop(key).size
            for key in [key for key in self._seen if matches(key)]:
                del self._seen[key]
            for key in [key for key in self._being_made if matches(key)]:
                del self._being_made[key]  # handed out when made, and not kept

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
    """A value, and whether it was asked for after it was made."""

    __slots__ = ("size", "used", "value")

    def __init__(self, value: Any, size: int) -> None:
        self.value, self.size, self.used = value, size, False


class Making:
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
        """The value, once it is there.

        Raises:
            AbandonedError: its maker gave up.
            BaseException: what the making raised, under `Cache.get`.
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
