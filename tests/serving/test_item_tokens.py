"""What is kept of items between requests is what the model would make of them anew."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.clock import microseconds
from serving.event_log import Event
from serving.item_changes import count, take_in
from serving.item_pushes import ItemPush
from serving.item_tokens import ItemTokens
from serving.snapshot import Snapshot
from training.bundle import Bundle
from training.tokens import SideTokens

DAY_US = 86_400_000_000
SOME = np.array([7, 2, 91, 3])
Positions = np.ndarray


@pytest.fixture
def snapshot(loaded: Bundle) -> Snapshot:
    """One's own, to push rows to."""
    return Snapshot.from_bundle(loaded)


@pytest.fixture
def at_us(loaded: Bundle) -> int:
    return microseconds(loaded.as_of) + DAY_US


def fresh(snapshot: Snapshot, positions: Positions, at_us: int) -> SideTokens:
    """The model's own answer."""
    numbers = snapshot.numbers[torch.from_numpy(positions)]
    with torch.inference_mode():
        return snapshot.bundle.model.item_tokens(snapshot.batches(positions, at_us), numbers)


def keeper(snapshot: Snapshot, max_kept: int) -> ItemTokens:
    return ItemTokens(snapshot.bundle.model, snapshot.views, snapshot.numbers, max_kept)


def assert_same(found: SideTokens, expected: SideTokens) -> None:
    """Sums are made in another order and products with other numbers of rows: not bit by bit."""
    torch.testing.assert_close(found.tokens, expected.tokens, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.prior, expected.prior, rtol=1e-5, atol=1e-6)
    assert torch.equal(found.present, expected.present)
    for own, other in (
        (found.keys, expected.keys),
        (found.weights, expected.weights),
        (found.vectors, expected.vectors),
    ):
        assert own.keys() == other.keys()
        for name in own:
            torch.testing.assert_close(own[name], other[name], rtol=1e-5, atol=1e-6)


def words(snapshot: Snapshot, position: int, at_us: int) -> ItemPush:
    row = {"keywords": ["zither"], "text_embedding": [0.6, 0.8, *[0.0] * 382]}
    return ItemPush("item_text", snapshot.item_ids[position], at_us, row)


def attributes(snapshot: Snapshot, position: int, at_us: int) -> ItemPush:
    row = {"category": "music", "categories": ["music", "odd"], "available_at_us": at_us - 9}
    return ItemPush("item_attributes", snapshot.item_ids[position], at_us, row)


@settings(max_examples=15, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.lists(st.integers(0, 99), min_size=1, max_size=30, unique=True),
            st.integers(0, 400 * DAY_US),
        ),
        min_size=1,
        max_size=6,
    ),
    max_kept=st.sampled_from([30, 41, 100_000]),
)
def test_tokens_are_the_models_own_at_every_instant(
    loaded: Bundle, asked: list[tuple[list[int], int]], max_kept: int
) -> None:
    """Also where there is room for few items, and the new take the places of the old."""
    snapshot = Snapshot.from_bundle(loaded)
    kept = keeper(snapshot, max_kept)
    for positions, later_us in asked:
        some, at_us = np.array(positions), microseconds(loaded.as_of) + later_us
        assert_same(kept.of(some, at_us), fresh(snapshot, some, at_us))


def test_what_is_kept_is_not_made_again(snapshot: Snapshot, at_us: int) -> None:
    kept = keeper(snapshot, 50)
    kept.of(SOME, at_us)
    assert (kept.num_asked, kept.num_made) == (4, 4)
    kept.of(SOME[::-1].copy(), at_us + DAY_US)
    assert (kept.num_asked, kept.num_made) == (8, 4)
    kept.of(np.array([7, 8]), at_us)
    assert (kept.num_asked, kept.num_made) == (10, 5)


def test_the_oldest_make_room(snapshot: Snapshot, at_us: int) -> None:
    kept = keeper(snapshot, 4)
    kept.of(SOME, at_us)
    kept.of(np.array([50]), at_us)  # in the place of 2
    kept.of(np.array([7, 91, 3, 50]), at_us)
    assert kept.num_made == 5
    kept.of(np.array([2]), at_us)
    assert kept.num_made == 6
    assert_same(kept.of(SOME, at_us), fresh(snapshot, SOME, at_us))


def test_requests_find_everything_made(snapshot: Snapshot, at_us: int) -> None:
    kept = keeper(snapshot, 100_000)
    kept.of(SOME, at_us)
    kept.fill(snapshot.popularity)
    assert kept.num_made == len(snapshot)
    everything = np.arange(len(snapshot))
    assert_same(kept.of(everything[-60:], at_us), fresh(snapshot, everything[-60:], at_us))
    assert kept.num_made == len(snapshot)


def test_where_there_is_little_room_the_most_popular_are_made(
    snapshot: Snapshot, at_us: int
) -> None:
    kept = keeper(snapshot, 40)
    kept.fill(snapshot.popularity)
    kept.of(snapshot.popularity.first(40), at_us)
    assert kept.num_made == 40


def test_nothing_is_kept_of_a_walk_through_the_catalogue(snapshot: Snapshot, at_us: int) -> None:
    kept = keeper(snapshot, 50)
    everything = np.arange(len(snapshot))
    assert_same(kept.of(everything, at_us), fresh(snapshot, everything, at_us))
    assert (kept.num_asked, kept.num_made) == (0, 0)


@pytest.mark.parametrize("pushed", [words, attributes])
def test_a_pushed_row_is_in_the_next_tokens(
    snapshot: Snapshot, at_us: int, pushed: Callable[[Snapshot, int, int], ItemPush]
) -> None:
    before = snapshot.tokens(SOME, at_us)
    for entries in (["zither"], []):  # also a second row of the same event time
        push = pushed(snapshot, 91, at_us)
        push.row["categories" if "categories" in push.row else "keywords"] = entries
        assert take_in(snapshot, push)
        after = snapshot.tokens(SOME, at_us)
        assert_same(after, fresh(snapshot, SOME, at_us))
        changed = (after.tokens != before.tokens).flatten(1).any(1)
        assert changed.tolist() == [position == 91 for position in SOME]


def test_what_people_do_is_in_the_next_tokens_and_nothing_is_made_again(
    snapshot: Snapshot, at_us: int
) -> None:
    kept = keeper(snapshot, 50)
    before = kept.of(SOME, at_us)
    count(
        snapshot, [Event("1", "u0000002", snapshot.item_ids[2], "click", None, at_us, True, at_us)]
    )
    after = kept.of(SOME, at_us)
    assert_same(after, fresh(snapshot, SOME, at_us))
    assert (after.tokens[1] != before.tokens[1]).any()
    assert kept.num_made == len(SOME)


def test_requests_do_not_share_tensors(snapshot: Snapshot, at_us: int) -> None:
    before = snapshot.tokens(SOME, at_us)
    with torch.inference_mode():
        before.map(lambda tensor: tensor.zero_())
    assert_same(snapshot.tokens(SOME, at_us), fresh(snapshot, SOME, at_us))


def test_threads_ask_while_rows_are_pushed(snapshot: Snapshot, at_us: int) -> None:
    """Each answer is of whole rows, and after the last push nothing old is left."""
    kept, rng = keeper(snapshot, 40), np.random.default_rng(0)
    asked = [rng.choice(100, 20, replace=False) for _ in range(60)]
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(kept.of, some, at_us) for some in asked]
        for position in range(0, 100, 5):
            assert take_in(snapshot, words(snapshot, position, at_us + position))
        for answer in answers:
            assert torch.isfinite(answer.result().tokens).all()
    for some in asked[:5]:
        assert_same(kept.of(some, at_us), fresh(snapshot, some, at_us))
