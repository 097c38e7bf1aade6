"""Facts that are read for a whole slate at once are those of its items one by one."""

import dataclasses

import numpy as np
import pytest

from serving.api import Context
from serving.evidence import Fact, ItemFacts, Past, gather
from serving.item_changes import take_in
from serving.item_pushes import ItemPush
from serving.ranker import SlateRanker
from serving.slate_facts import MOST_COMPARED, SlateFacts, percents, sample
from serving.snapshot import Snapshot
from serving.users import User
from serving.weights import sources_of
from tests.serving.askers import REGULARS, ask_user
from training.bundle import Bundle
from training.neighbours import Neighbours

FLOOR = 2


def one_by_one(snapshot: Snapshot, user: User, position: int) -> tuple[Fact, ...]:
    """Oracle: everything looked up for one item."""

    def item(place: int, rank: int = -1) -> ItemFacts:
        return ItemFacts(
            snapshot.item_ids[place],
            snapshot.titles[place],
            snapshot.terms[place],
            snapshot.categories[place],
            None if rank < 0 else rank,
        )

    entries = zip(user.history, user.actions, user.taken_at_us, strict=True)
    kept = [e for e in entries if e[0] in snapshot.position and e[0] not in user.rejected]
    places = [snapshot.position[item_id] for item_id, _, _ in kept]
    past = Past([item(place) for place in places], [e[1] for e in kept], [e[2] for e in kept])
    near = {
        snapshot.item_ids[other]: float(similarity)
        for other, similarity in zip(*snapshot.neighbours(np.array([position])), strict=True)
        if other in places
    }
    return gather(
        item(position, snapshot.popularity.rank(position)),
        past,
        near,
        max(counts.get(snapshot.item_ids[position], 0) for counts in user.others.values()),
        sources=sources_of(snapshot.bundle.schema),
        min_friends=FLOOR,
    )


@pytest.mark.parametrize("user_id", REGULARS[:2])
def test_facts_of_a_slate_are_those_of_each_item(
    ranker: SlateRanker, loaded: Bundle, user_id: str
) -> None:
    """Also where the catalogue has grown, an item was taken up twice and one was hidden since."""
    user = ask_user(ranker, user_id)
    first, second, *_ = user.history
    user = dataclasses.replace(
        user,
        history=(*user.history, first, "gone"),
        actions=(*user.actions, "rate", "rate"),
        taken_at_us=(*user.taken_at_us, None, 5),
        rejected=(second,),
    )
    table, num_old = loaded.neighbours, len(loaded.neighbours.ids) - 20
    fewer = Neighbours(table.ids[:num_old], table.scores[:num_old])
    snapshot = Snapshot.from_bundle(dataclasses.replace(loaded, neighbours=fewer))
    positions = np.arange(len(snapshot))[::-1]
    items, found = SlateFacts(snapshot, ranker.voices, FLOOR).gather(user, positions)
    assert [item.item_id for item in items] == [snapshot.item_ids[place] for place in positions]
    assert {fact.kind for facts in found for fact in facts} >= {"history", "term", "popularity"}
    for position, facts in zip(positions.tolist(), found, strict=True):
        assert facts == one_by_one(snapshot, user, position)


def test_somebody_without_a_past_is_told_what_is_popular(ranker: SlateRanker) -> None:
    nobody = ranker.users.read("nobody", Context(), ranker.clock.now_us())
    top = ranker.snapshot.popularity.first(3)
    _, found = SlateFacts(ranker.snapshot, ranker.voices, FLOOR).gather(nobody, top)
    assert [[fact.number for fact in facts] for facts in found] == [[10]] * 3


def test_a_pushed_row_is_in_the_next_facts(ranker: SlateRanker, loaded: Bundle) -> None:
    snapshot = Snapshot.from_bundle(loaded)
    facts = SlateFacts(snapshot, ranker.voices, FLOOR)
    user = ask_user(ranker, REGULARS[0])
    item_id, at_us = user.history[0], ranker.clock.now_us()
    place = snapshot.position[item_id]
    row = {**(snapshot.views["item_text"].row(place) or {}), "keywords": ["unheard of"]}
    row |= {"title": "Another name", "categories": ["unheard"]}
    assert take_in(snapshot, ItemPush("item_text", item_id, at_us, row))
    _, (own,) = facts.gather(user, np.array([place]))
    assert {"unheard of", "unheard"} <= {fact.name for fact in own}
    assert snapshot.facts(np.array([place]))[0].title == "Another name"


@pytest.mark.parametrize(("num", "tolerance"), [(500, 0), (3 * MOST_COMPARED, 1)])
def test_percents_are_of_the_catalogue_whether_or_not_all_of_it_is_compared(
    num: int, tolerance: int
) -> None:
    rng = np.random.default_rng(3)
    vectors, own = rng.standard_normal((num, 8), np.float32), rng.standard_normal(8, np.float32)
    closeness = vectors @ own
    positions = np.argsort(closeness)[:: num // 50]
    expected = [int(100 * (closeness < closeness[place]).mean()) for place in positions]
    found = percents(vectors, sample(num), own, positions)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert percents(vectors, sample(num), own, np.array([closeness.argmax()])) == [99]
