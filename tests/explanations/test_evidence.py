"""What is gathered for a record, and what is kept back."""

from serving.evidence import Evidence, ItemFacts, gather

ITEM = ItemFacts(item_id="i", title="Item", terms=("jazz", "Slow"), popularity_rank=30)
NEAR = ItemFacts(item_id="n", title="Near", terms=("rock",))
ALIKE = ItemFacts(item_id="a", title="Alike", terms=("slow",))
FAR = ItemFacts(item_id="f", title="Far", terms=("metal",))


def gathered(num_friends: int = 0, **how: int) -> Evidence:
    actions = ["play", "play", "play"]
    return gather(ITEM, [FAR, ALIKE, NEAR], actions, {"n": 0.4}, num_friends, {"text": 1.0}, **how)


def test_neighbours_come_before_items_that_only_share_terms() -> None:
    assert gathered().history == ("Near", "Alike")


def test_unrelated_items_are_left_out() -> None:
    assert "Far" not in gathered(num_history=3).history


def test_shared_terms_match_whatever_their_case() -> None:
    assert gathered().shared == ("Slow",)


def test_verbs_are_not_mixed() -> None:
    record = gather(ITEM, [NEAR, ALIKE], ["play", "rate"], {"n": 0.4}, 0, {})
    assert record.verb == "played"
    assert record.history == ("Near",)


def test_friends_below_the_privacy_floor_are_not_told() -> None:
    assert gathered(1).num_friends == 0
    assert gathered(2).num_friends == 2
    assert gathered(2, min_friends=3).num_friends == 0


def test_popularity_is_told_in_steps() -> None:
    assert gathered().popular_within == 50
    unpopular = ITEM.model_copy(update={"popularity_rank": 400})
    assert gather(unpopular, [], [], {}, 0, {}).popular_within is None


def test_an_item_nobody_took_up_is_new() -> None:
    fresh = ITEM.model_copy(update={"popularity_rank": None})
    record = gather(fresh, [], [], {}, 0, {})
    assert record.is_new
    assert record.is_empty
