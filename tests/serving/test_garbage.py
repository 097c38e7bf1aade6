"""What stays is not looked through, what was replaced is found."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from serving import garbage


class Knot:
    """Garbage that only the collector finds: it holds itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture
def in_a_replica(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "in_a_replica", lambda: True)
    yield
    gc.unfreeze()


def test_a_process_that_is_no_replica_is_left_alone() -> None:
    before = gc.get_freeze_count()
    garbage.settle()
    assert gc.get_freeze_count() == before


@pytest.mark.usefixtures("in_a_replica")
def test_what_stays_is_set_aside_and_what_went_is_found_the_next_time() -> None:
    knot = Knot()
    seen = weakref.ref(knot)
    garbage.settle()
    assert gc.get_freeze_count() > 0
    del knot
    gc.collect()
    assert seen() is not None  # set aside: not looked at
    garbage.settle()
    assert seen() is None
