"""Slates: complete, in order, and every score the sum of what its sources say."""

import dataclasses

import numpy as np
import pytest
import torch
from feast import FeatureStore

from serving.api import Context, Filters, RecommendRequest
from serving.errors import UnknownItemError
from serving.evidence import MIN_WEIGHT
from serving.quotas import Quotas
from serving.ranker import Ranked, SlateRanker
from serving.users import User
from tests.serving.askers import REGULARS, ask_user
from training.attribution import attribute, shapley

ASKERS = (*REGULARS, "nobody")


def slate(ranker: SlateRanker, user_id: str, k: int = 10, **filters: object) -> tuple[Ranked, ...]:
    request = RecommendRequest(user_id=user_id, k=k, filters=Filters.model_validate(filters))
    return ranker.recommend(request).items


def ids(items: tuple[Ranked, ...]) -> list[str]:
    return [item.evidence.item_id for item in items]


@pytest.mark.parametrize("user_id", ASKERS)
def test_a_slate_is_full_sorted_and_has_each_item_once(ranker: SlateRanker, user_id: str) -> None:
    items = slate(ranker, user_id)
    assert len(items) == 10
    assert len(set(ids(items))) == 10
    assert [item.score for item in items] == sorted((i.score for i in items), reverse=True)
    assert all(0.0 < item.probability < 1.0 for item in items)


@pytest.mark.parametrize("user_id", ASKERS)
def test_no_candidate_left_out_scores_higher(ranker: SlateRanker, user_id: str) -> None:
    """Top-k is complete: with every item a candidate, no unseen one beats the slate's last."""
    items = slate(ranker, user_id, k=5, allow=ranker.snapshot.item_ids)
    user = ask_user(ranker, user_id)
    seen = {ranker.snapshot.item_ids[i] for i in ranker.snapshot.seen_by(user_id)}
    everything = ranker.snapshot.tokens(np.arange(len(ranker.snapshot)), ranker.clock.now_us())
    with torch.inference_mode():
        logits = ranker.bundle.model.score(user.tokens, everything)[0].numpy()
    said = ranker.voices.say(user, ranker.clock.now_us())
    scores = said.scores(logits, np.arange(len(ranker.snapshot))).tolist()
    of_item = dict(zip(ranker.snapshot.item_ids, scores, strict=True))
    expected = sorted((i for i in of_item if i not in seen), key=lambda i: -of_item[i])[:5]
    assert ids(items) == expected
    for item in items:
        assert item.score == pytest.approx(of_item[item.evidence.item_id], abs=1e-4)


@pytest.mark.parametrize("user_id", ASKERS)
def test_contributions_and_the_baseline_add_up_to_the_score(
    ranker: SlateRanker, user_id: str
) -> None:
    items = slate(ranker, user_id)
    positions = np.array([item.position for item in items])
    tokens = ranker.snapshot.tokens(positions, ranker.clock.now_us())
    user = ask_user(ranker, user_id)
    with torch.inference_mode():
        logits = ranker.bundle.model.score(user.tokens, tokens)[0].numpy()
    said = ranker.voices.say(user, ranker.clock.now_us())
    scores = said.scores(logits, positions).tolist()
    beside = said.beside(said.terms(positions))
    found = attribute(ranker.bundle.model, user.tokens, tokens, beside)
    for row, item in enumerate(items):
        told, baseline = item.evidence.contributions, float(found.baseline_BC[0, row])
        assert sum(told.values()) + baseline == pytest.approx(scores[row], abs=1e-5)
        assert item.score == pytest.approx(scores[row], abs=1e-5)
        shares = found.contributions_BCS[0, row].tolist()
        named = dict(zip(ranker.bundle.model.sources, shares, strict=True))
        assert told == pytest.approx(named, abs=1e-6)


@pytest.mark.parametrize("user_id", ASKERS)
@pytest.mark.parametrize("k", [1, 2, 7, 100])
def test_k_is_the_length_and_a_shorter_slate_the_head_of_a_longer(
    ranker: SlateRanker, user_id: str, k: int
) -> None:
    unseen = len(ranker.snapshot) - len(ranker.snapshot.seen_by(user_id))
    items = slate(ranker, user_id, k)
    assert len(items) == min(k, unseen)
    assert ids(items) == ids(slate(ranker, user_id, 100))[:k]


def test_a_source_that_is_masked_changes_the_answer(
    ranker: SlateRanker, regulars: list[User]
) -> None:
    """And counts for nothing on the user's side."""
    model, at_us = ranker.bundle.model, ranker.clock.now_us()
    items = ranker.snapshot.tokens(np.arange(len(ranker.snapshot)), at_us)
    user = next(user for user in regulars if not user.missing_sources)
    with torch.inference_mode():
        whole = model.score(user.tokens, items)
        for number, source in enumerate(model.sources):
            if source in {view.source for view in ranker.bundle.schema.user_views}:
                kept = torch.tensor([s != source for s in model.sources])
                masked = model.score(user.tokens.masked(kept), items.masked(kept))
                assert not torch.allclose(whole, masked, atol=1e-4), source
                shares, _ = shapley(model, user.tokens.masked(kept), items.masked(kept))
                assert abs(shares[..., number]).max() < 1e-9


def test_a_missing_source_is_said_and_the_slate_is_full(ranker: SlateRanker) -> None:
    for number in range(80):
        request = RecommendRequest(user_id=f"u{number:07d}")
        answer = ranker.recommend(request)
        if answer.user.missing_sources == ("social",):
            assert len(answer.items) == 10
            return
    pytest.fail("everybody in this world has friends")


def test_strangers_get_trends_and_say_what_they_like(ranker: SlateRanker) -> None:
    assert {item.channel for item in slate(ranker, "nobody")} == {"trending"}
    context = Context(categories=["music"], session_items=["i0000003"])
    request = RecommendRequest(user_id="nobody", k=50, context=context)
    channels = {item.channel for item in ranker.recommend(request).items}
    assert {"category", "item_ridge"} <= channels


def test_regulars_are_answered_from_many_channels(ranker: SlateRanker) -> None:
    channels = {item.channel for user in REGULARS for item in slate(ranker, user, 30)}
    assert {"item_ridge", "user_ridge", "friends", "new", "trending"} <= channels


def test_an_allow_list_is_ranked_whole(ranker: SlateRanker) -> None:
    """Also the items that no channel thought of; what is unknown or seen is left out."""
    unseen = ids(slate(ranker, REGULARS[0], 100))[-4:]
    seen = ranker.snapshot.item_ids[int(ranker.snapshot.seen_by(REGULARS[0])[0])]
    items = slate(ranker, REGULARS[0], allow=[*unseen, seen, "no such item"])
    assert set(ids(items)) == set(unseen)


def test_an_item_no_channel_thought_of_says_so(ranker: SlateRanker, store: FeatureStore) -> None:
    narrow = SlateRanker(ranker.bundle, store, ranker.clock, quotas=Quotas(1))
    items = slate(narrow, REGULARS[0], 100, allow=ranker.snapshot.item_ids)
    channels = {item.channel for item in items}
    assert "allow_list" in channels
    assert channels & {channel.replace("-", "_") for channel in ranker.voices.names}
    assert len(items) == len(slate(ranker, REGULARS[0], 100))


def test_denied_items_and_other_categories_stay_out(ranker: SlateRanker) -> None:
    best = ids(slate(ranker, REGULARS[0]))[:3]
    assert not set(best) & set(ids(slate(ranker, REGULARS[0], 100, deny=best)))
    music = slate(ranker, REGULARS[0], 100, categories=["music"])
    assert music
    assert all("music" in ranker.snapshot.categories[item.position] for item in music)


def test_nothing_allowed_is_an_empty_slate(ranker: SlateRanker) -> None:
    assert slate(ranker, REGULARS[0], allow=[]) == ()


def test_rejected_items_stay_out(ranker: SlateRanker) -> None:
    best = ids(slate(ranker, REGULARS[0]))[0]
    answer = ranker.recommend(RecommendRequest(user_id=REGULARS[0]), rejected=(best,))
    assert best not in ids(answer.items)


def test_the_same_question_has_the_same_answer(ranker: SlateRanker) -> None:
    assert slate(ranker, REGULARS[1]) == slate(ranker, REGULARS[1])


def test_one_item_is_explained_as_it_is_ranked(ranker: SlateRanker) -> None:
    request = RecommendRequest(user_id=REGULARS[0], explain="llm")
    first = ranker.recommend(request).items[0]
    alone = ranker.explain(REGULARS[0], first.evidence.item_id, Context()).items
    assert len(alone) == 1
    assert alone[0].channel == "asked"
    assert alone[0].score == pytest.approx(first.score, abs=1e-5)
    assert alone[0].evidence.history == first.evidence.history
    assert alone[0].evidence.leading_source == first.evidence.leading_source


def test_facts_are_weighed_where_somebody_asks_why(ranker: SlateRanker) -> None:
    quick = slate(ranker, REGULARS[0])
    assert all(fact.weight is None for item in quick for fact in item.evidence.facts)
    request = RecommendRequest(user_id=REGULARS[0], explain="llm")
    facts = [fact for item in ranker.recommend(request).items for fact in item.evidence.facts]
    assert facts
    assert all(fact.weight is not None and fact.weight >= MIN_WEIGHT for fact in facts)
    unasked = ranker.recommend(RecommendRequest(user_id=REGULARS[0], explain="none"))
    assert all(item.evidence.facts == () for item in unasked.items)


def test_what_a_user_hid_is_no_evidence(ranker: SlateRanker) -> None:
    """Nor is a term that only a hidden item has."""
    request = RecommendRequest(user_id=REGULARS[0])
    facts = [f for item in ranker.recommend(request).items for f in item.evidence.facts]
    hidden = next(fact for fact in facts if fact.kind == "history").entity_ids[0]
    after = ranker.recommend(request, rejected=[hidden]).items
    assert all(hidden not in f.entity_ids for item in after for f in item.evidence.facts)


def test_counterfactual_ranks_are_those_of_the_model(ranker: SlateRanker) -> None:
    """Oracle: the slate ranks the item where the counterfactual says it does."""
    items = slate(ranker, REGULARS[0], 20)
    user = ask_user(ranker, REGULARS[0])
    for place in (0, 7):
        found = ranker.counterfactuals(user, items[place].evidence.item_id, Context())
        assert {one.rank for one in found} == {place + 1}
        assert {one.without for one in found} <= set(ranker.bundle.model.sources)
        assert all(1 <= one.rank_without <= one.num_candidates for one in found)


def test_an_unknown_item_cannot_be_explained(ranker: SlateRanker) -> None:
    with pytest.raises(UnknownItemError, match="'gone' is not in the catalogue"):
        ranker.explain("nobody", "gone", Context())


def test_evidence_holds_what_the_user_did_and_nothing_else(
    ranker: SlateRanker, events_of: dict[str, list[str]]
) -> None:
    titles = dict(zip(ranker.snapshot.item_ids, ranker.snapshot.titles, strict=True))
    told = 0
    for user_id in REGULARS:
        own = {titles[item] for item in events_of[user_id]}
        for item in slate(ranker, user_id):
            assert set(item.evidence.history) <= own
            assert set(item.evidence.shared) <= set(ranker.snapshot.terms[item.position])
            told += len(item.evidence.history)
    assert told > 20


def test_a_count_of_friends_below_the_floor_is_not_told(
    ranker: SlateRanker, store: FeatureStore
) -> None:
    user = next(u for u in (ask_user(ranker, i) for i in REGULARS) if u.others.get("social"))
    item, count = max(user.others["social"].items(), key=lambda pair: pair[1])
    floors = {count: count, count + 1: 0}
    for floor, told in floors.items():
        careful = SlateRanker(ranker.bundle, store, ranker.clock, min_friends=floor)
        evidence = slate(careful, user.user_id, allow=[item], exclude_seen=False)[0].evidence
        assert evidence.num_friends == told


def test_a_bundle_is_not_changed_by_its_use(ranker: SlateRanker) -> None:
    before = {k: v.clone() for k, v in ranker.bundle.model.state_dict().items()}
    popularity = dataclasses.replace(ranker.snapshot.popularity)
    values = popularity.values.copy()
    slate(ranker, REGULARS[0])
    assert all(torch.equal(v, before[k]) for k, v in ranker.bundle.model.state_dict().items())
    assert (ranker.snapshot.popularity.values == values).all()
