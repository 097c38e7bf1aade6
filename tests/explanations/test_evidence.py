"""What is gathered for a record, and what is kept back."""

from serving.evidence import Evidence, Fact, ItemFacts, Past, gather, text_facts, weighed
from serving.evidence import Sources as FactSources

ITEM = ItemFacts(item_id="i", title="Item", terms=("jazz", "Slow", "slow"), popularity_rank=30)
NEAR = ItemFacts(item_id="n", title="Near", terms=("rock",))
ALIKE = ItemFacts(item_id="a", title="Alike", terms=("slow",))
FAR = ItemFacts(item_id="f", title="Far", terms=("metal",))
PAST = Past(items=[FAR, ALIKE, NEAR], actions=["play", "rate", "play"], at_us=[3_000_000, None])


def gathered(num_friends: int = 0, min_friends: int = 3, num_history: int = 4) -> Evidence:

    facts = gather(
        ITEM, PAST, {"n": 0.4}, num_friends, min_friends=min_friends, num_history=num_history
    )
    return Evidence(item_id="i", title="Item", facts=facts)


def test_neighbours_come_before_items_that_only_share_terms() -> None:
    assert gathered().history == ("Near", "Alike")


def test_unrelated_items_are_left_out() -> None:
    assert "Far" not in gathered(num_history=3).history


def test_terms_that_differ_only_in_case_are_one() -> None:
    """ "crime" and "Crime" come from keywords and from categories."""
    assert gathered().shared == ("Slow",)
    assert gathered().of("term")[0].entity_ids == ("a",)


def test_a_tag_that_is_the_items_own_name_is_nothing_shared() -> None:
    named = ItemFacts(item_id="k", title="Slow", terms=("slow", "metal"))
    assert [fact.name for fact in gather(named, PAST, {}) if fact.kind == "term"] == ["metal"]


def test_facts_are_typed() -> None:
    facts = {fact.id: fact for fact in gathered(3).facts}
    assert facts["history-n"].action == "play"
    assert facts["history-n"].entity_ids == ("n",)
    assert (facts["friends"].number, facts["friends"].unit) == (3, "people")
    assert (facts["popularity"].number, facts["popularity"].unit) == (50, "places")
    assert facts["history-n"].at is None
    near_first = Past(items=[NEAR], actions=["play"], at_us=[3_000_000])
    at = gather(ITEM, near_first, {"n": 0.4})[0].at
    assert at is not None
    assert at.isoformat() == "1970-01-01T00:00:03+00:00"


def test_friends_below_the_privacy_floor_are_not_told() -> None:
    assert gathered(2).num_friends == 0
    assert gathered(3).num_friends == 3
    assert gathered(2, min_friends=2).num_friends == 2
    assert gathered(0, min_friends=0).of("friends") == ()


def test_popularity_is_told_in_steps() -> None:
    assert gathered().popular_within == 50
    unpopular = ItemFacts(item_id="u", title="U", popularity_rank=400)
    assert gather(unpopular, Past(), {}) == ()


def test_text_is_told_only_when_it_is_close() -> None:
    assert text_facts(None, FactSources()) == text_facts(89, FactSources()) == ()
    assert text_facts(90, FactSources())[0].number == 90


def test_what_speaks_against_an_item_is_no_reason() -> None:
    facts = gathered(3).facts
    weights = {"history-n": 0.1, "history-a": 0.5, "friends": -0.2, "term-slow": 0.0}
    told = weighed(facts, weights)
    assert [fact.id for fact in told] == ["history-a", "history-n", "popularity"]


def test_equal_evidence_has_one_fingerprint_and_other_evidence_another() -> None:
    one = gathered(3)
    measured = one.model_copy(update={"facts": weighed(one.facts, {"friends": 2.0})})
    assert one.fingerprint() == gathered(3).fingerprint()
    assert {fact.id for fact in measured.facts} == {fact.id for fact in one.facts}
    changed = one.model_copy(update={"title": "Another"})
    assert changed.fingerprint() != one.fingerprint()
    other = Fact(id="friends", kind="friends", source="social", number=4, unit="people")
    assert one.model_copy(update={"facts": (other,)}).fingerprint() != one.fingerprint()
