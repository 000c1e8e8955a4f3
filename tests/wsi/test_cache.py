"""The cache: makes each thing once, keeps within its budget, survives threads and forks."""

import os
import threading
import time

import pytest

from lsr_ext.wsi.cache import AbandonedError, Cache, Keep


def test_least_recently_used_goes_first():
    cache = Cache(10, size=len)
    for key in "abc":
        cache.get(key, lambda key=key: key * 3)
    cache.get("a", pytest.fail)
    cache.get("d", lambda: "dddd")  # 13 in all: b goes
    assert cache.get("a", pytest.fail) == "aaa"
    assert cache.get("c", pytest.fail) == "ccc"
    assert cache.get("b", lambda: "new") == "new"
    assert cache.stats()["size"] <= 10


def test_a_value_above_the_budget_is_handed_out_and_not_kept():
    cache = Cache(3, size=len)
    assert cache.get("a", lambda: "long one") == "long one"
    assert cache.stats()["values"] == 0


def test_the_budget_may_shrink():
    cache = Cache(10, size=len)
    for key in "abcde":
        cache.get(key, lambda: "xx")
    cache.set_budget(4)
    assert cache.stats() | {"hits": 0} == {"values": 2, "size": 4, "hits": 0, "misses": 5}
    with pytest.raises(ValueError, match="at least 0, got -1"):
        cache.set_budget(-1)


def test_twenty_threads_make_it_once():
    cache, made, got = Cache(100, size=len), [], []

    def make():
        made.append(threading.get_ident())
        time.sleep(0.05)
        return "value"

    threads = [threading.Thread(target=lambda: got.append(cache.get("key", make))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), got) == (1, ["value"] * 20)


def test_an_error_reaches_all_who_wait_and_is_not_kept():
    cache, errors, started = Cache(100, size=len), [], threading.Event()

    def fail():
        started.set()
        time.sleep(0.05)
        raise OSError("broken")

    def ask(make):
        try:
            cache.get("key", make)
        except OSError as error:
            errors.append(str(error))

    first = threading.Thread(target=ask, args=(fail,))
    first.start()
    started.wait()
    second = threading.Thread(target=ask, args=(lambda: pytest.fail("made twice"),))
    second.start()
    first.join()
    second.join()
    assert errors == ["broken"] * 2
    assert cache.get("key", lambda: "now") == "now"


def read_once(cache, key, keep):
    """Read a value that no other thread is making, and return where it came from."""
    claim = cache.claim({key: keep}, size=10)
    if claim.mine:
        cache.settle(claim.mine, {key: "0123456789"})
    return "held" if claim.held else "kept" if claim.mine else "passed"


def test_some_values_are_kept_from_the_second_time_on():
    cache = Cache(100, size=len)
    assert [read_once(cache, "key", Keep.FROM_SECOND_TIME) for _ in range(3)] == ["passed", "kept", "held"]


def test_no_more_is_remembered_than_could_be_held():
    cache = Cache(100, size=len)
    for key in range(11):
        read_once(cache, key, Keep.FROM_SECOND_TIME)
    assert read_once(cache, 0, Keep.FROM_SECOND_TIME) == "passed"
    assert read_once(cache, 10, Keep.FROM_SECOND_TIME) == "kept"


def test_values_are_kept_at_once_only_while_they_are_asked_for_again():
    cache = Cache(100, size=len)
    assert read_once(cache, "first", Keep.IF_IT_PAYS) == "kept"
    for key in range(100):  # every key is new
        read_once(cache, key, Keep.IF_IT_PAYS)
    assert read_once(cache, "another", Keep.IF_IT_PAYS) == "passed"
    assert read_once(cache, "always", Keep.ALWAYS) == "kept"
    for key in range(1000, 1020):  # everything comes thrice
        for _ in range(3):
            read_once(cache, key, Keep.IF_IT_PAYS)
    assert read_once(cache, "new", Keep.IF_IT_PAYS) == "kept"


def test_what_another_thread_makes_is_awaited_and_may_be_given_up():
    cache = Cache(100, size=len)
    first, second = (cache.claim({"a": Keep.ALWAYS, "b": Keep.ALWAYS}) for _ in range(2))
    assert (list(first.mine), list(second.awaited)) == (["a", "b"], ["a", "b"])
    cache.settle({"a": first.mine["a"]}, {"a": "value"})
    assert second.awaited["a"].wait() == "value"
    cache.abandon({"b": first.mine["b"]})
    with pytest.raises(AbandonedError):
        second.awaited["b"].wait()
    assert list(cache.claim({"a": Keep.ALWAYS, "b": Keep.ALWAYS}).mine) == ["b"]


def test_discarded_values_are_made_again():
    cache = Cache(100, size=len)
    for key in ("a1", "a2", "b1"):
        cache.get(key, lambda: "old")
    cache.discard(lambda key: key[0] == "a")
    assert cache.get("b1", pytest.fail) == "old"
    assert cache.get("a1", lambda: "new") == "new"


def test_a_fork_in_the_middle_of_making_leaves_the_child_an_empty_cache():
    cache = Cache(100, size=len)
    cache.get("held", lambda: "parent's")
    started, go_on = threading.Event(), threading.Event()

    def make():
        started.set()
        go_on.wait(10)
        return "slow"

    thread = threading.Thread(target=cache.get, args=("key", make))
    thread.start()
    started.wait()
    child = os.fork()
    if not child:  # no assert here: the child must not come back into pytest
        fine = cache.get("key", lambda: "child's") == "child's" and cache.get("held", lambda: "new") == "new"
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    thread.join()
    assert cache.get("key", pytest.fail) == "slow"
    assert cache.get("held", pytest.fail) == "parent's"
