"""Filters part the catalogue in two: what may be shown, and what may not, with a reason each."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api import Filters
from serving.filters import allowed_items, reasons_against, seen_items
from serving.ranker import SlateRanker
from serving.snapshot import Mask
from serving.users import User
from tests.serving.askers import REGULARS, ask_user

NUM_ITEMS = 100
CATEGORIES = ("music", "art", "food", "no such category")
ITEMS = st.lists(st.integers(0, NUM_ITEMS + 4).map("i{:07d}".format), max_size=30)
FILTERS = st.builds(
    Filters,
    exclude_seen=st.booleans(),
    allow=st.none() | ITEMS,
    deny=ITEMS,
    categories=st.none() | st.lists(st.sampled_from(CATEGORIES), max_size=3),
)
# The ranker is only read, so that one for all examples is right.
LAW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def filtered(ranker: SlateRanker, user: User, filters: Filters) -> Mask:
    allowed = allowed_items(ranker.snapshot, user, filters, ranker.clock.now_us())
    return allowed.of(np.arange(len(ranker.snapshot)))


def oracle(ranker: SlateRanker, user: User, filters: Filters, position: int) -> set[str]:
    """Item by item what the module says in masks."""
    snapshot = ranker.snapshot
    item_id = snapshot.item_ids[position]
    met = {*user.history, *user.rejected}
    met |= {snapshot.item_ids[i] for i in snapshot.seen_by(user.user_id)}
    against = {
        "not yet": snapshot.available_at_us[position] > ranker.clock.now_us(),
        "seen": filters.exclude_seen and item_id in met,
        "not on the list": filters.allow is not None and item_id not in filters.allow,
        "denied": item_id in filters.deny,
        "category": filters.categories is not None
        and not set(filters.categories) & snapshot.categories[position],
    }
    return {reason for reason, holds in against.items() if holds}


@LAW
@given(filters=FILTERS, number=st.integers(0, len(REGULARS) - 1))
def test_every_item_is_allowed_or_filtered_for_a_reason(
    ranker: SlateRanker, regulars: list[User], filters: Filters, number: int
) -> None:
    user = regulars[number]
    mask = filtered(ranker, user, filters)
    assert len(mask) == NUM_ITEMS
    for position, allowed in enumerate(mask):
        assert bool(oracle(ranker, user, filters, position)) is not bool(allowed)


@LAW
@given(items=ITEMS)
def test_a_list_allowed_and_the_same_list_denied_part_the_rest(
    ranker: SlateRanker, regulars: list[User], items: list[str]
) -> None:
    user = regulars[0]
    unfiltered = filtered(ranker, user, Filters())
    allowed = filtered(ranker, user, Filters(allow=items))
    denied = filtered(ranker, user, Filters(deny=items))
    assert not (allowed & denied).any()
    assert ((allowed | denied) == unfiltered).all()


def test_what_is_seen_is_the_log_of_the_user(
    ranker: SlateRanker, regulars: list[User], events_of: dict[str, list[str]]
) -> None:
    """Oracle: the items of the raw events, skipped ones too."""
    for user in regulars:
        seen = seen_items(ranker.snapshot, user)
        assert {ranker.snapshot.item_ids[i] for i in seen} == set(events_of[user.user_id])


def test_seen_items_may_be_asked_for(ranker: SlateRanker, regulars: list[User]) -> None:
    assert filtered(ranker, regulars[0], Filters(exclude_seen=False)).all()


def test_session_items_are_seen(ranker: SlateRanker) -> None:
    newcomer = ask_user(ranker, "nobody", "i0000003")
    mask = filtered(ranker, newcomer, Filters())
    assert not mask[ranker.snapshot.position["i0000003"]]
    assert mask.sum() == NUM_ITEMS - 1


def test_an_item_that_comes_later_is_not_yet_shown(ranker: SlateRanker, stranger: User) -> None:
    snapshot = ranker.snapshot
    newest = int(np.argmax(snapshot.available_at_us))
    at_us = int(snapshot.available_at_us[newest])
    one = np.array([newest])
    assert allowed_items(snapshot, stranger, Filters(), at_us).of(one)
    assert not allowed_items(snapshot, stranger, Filters(), at_us - 1).of(one)


@pytest.mark.parametrize("filters", [Filters(allow=[]), Filters(categories=[])])
def test_an_empty_list_of_the_allowed_allows_nothing(
    ranker: SlateRanker, stranger: User, filters: Filters
) -> None:
    assert not filtered(ranker, stranger, filters).any()


@LAW
@given(filters=FILTERS, number=st.integers(0, len(REGULARS) - 1))
def test_how_many_a_rule_keeps_out_is_known_without_looking_at_each(
    ranker: SlateRanker, regulars: list[User], filters: Filters, number: int
) -> None:
    user, at_us = regulars[number], ranker.clock.now_us()
    for _, rule in reasons_against(ranker.snapshot, user, filters, at_us):
        assert rule.num_kept_out(NUM_ITEMS) == rule.keeps_out(np.arange(NUM_ITEMS)).sum()
