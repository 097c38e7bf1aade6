"""Guarded calls in one thread: late and failing ones cost the others nothing."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.breaker import Breaker
from serving.deadlines import Guard, LeftOutError
from serving.turns import in_turn

DEADLINE_S = 0.15
NUM_THREADS = 4


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NUM_THREADS)


def guard(threads: ThreadPoolExecutor, name: str = "one", failures: int = 5) -> Guard:
    return Guard("channel", DEADLINE_S, Breaker(failures, 60), threads, name)


def why(result: object) -> str:
    assert isinstance(result, LeftOutError)
    return result.degradation.why


def test_calls_share_a_thread_and_keep_their_order(threads: ThreadPoolExecutor) -> None:
    calls = [lambda n=n: (n, threading.get_ident()) for n in range(8)]
    found = in_turn([(guard(threads), call) for call in calls], threads)
    assert [number for number, _ in found] == list(range(8))  # type: ignore[misc]
    assert len({thread for _, thread in found}) == 1  # type: ignore[misc]


def test_late_and_failing_calls_are_left_out_and_the_others_are_not(
    threads: ThreadPoolExecutor,
) -> None:
    go_on = threading.Event()

    def late() -> str:
        go_on.wait(60)
        return "late"

    def failing() -> str:
        raise IndexError

    calls: list[Callable[[], str]] = [lambda: "a", late, lambda: "b", failing, late, lambda: "c"]
    began = time.monotonic()
    found = in_turn([(guard(threads), call) for call in calls], threads)
    took = time.monotonic() - began
    go_on.set()
    assert [found[0], found[2], found[5]] == ["a", "b", "c"]
    assert why(found[1]).startswith("was late")
    assert why(found[4]).startswith("was late")
    assert why(found[3]) == "failed: IndexError"
    assert took >= 2 * DEADLINE_S


def test_a_deadline_counts_from_the_call_s_own_beginning(threads: ThreadPoolExecutor) -> None:
    calls = [(guard(threads), lambda: time.sleep(0.6 * DEADLINE_S)) for _ in range(4)]
    assert in_turn(calls, threads) == [None] * 4


def test_what_was_given_up_begins_nothing_more(threads: ThreadPoolExecutor) -> None:
    go_on, begun = threading.Event(), []
    calls = [lambda: go_on.wait(60), lambda: begun.append("once")]
    in_turn([(guard(threads), call) for call in calls], threads)
    go_on.set()
    threads.shutdown()  # waits for the call that was given up
    assert begun == ["once"]


def test_what_failed_too_often_is_not_called(threads: ThreadPoolExecutor) -> None:
    called = []

    def failing() -> None:
        called.append(1)
        raise IndexError

    own, other = guard(threads, failures=2), guard(threads)
    for _ in range(4):
        found = in_turn([(own, failing), (other, lambda: None)], threads)
        assert found[1] is None
    assert len(called) == 2
    assert why(found[0]).startswith("was not asked")
