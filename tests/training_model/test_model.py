"""What a score may depend on: present sources only, each on both sides, at the instant asked."""

import dataclasses

import pytest
import torch

from tests.training_model.toy import (
    DAY_US,
    NOW_US,
    NUM_ITEMS,
    make_model,
    toy_items,
    toy_schema,
    toy_users,
)
from training.config import FUSIONS
from training.match import find_pairs
from training.model import FusionModel
from training.projector import ViewBatch
from training.tokens import SideTokens, id_sources

IDS = torch.arange(1, 13)


def sides(model: FusionModel, num_users: int = 3) -> tuple[SideTokens, SideTokens]:
    return (
        model.user_tokens(toy_users(num_users, seed=1)),
        model.item_tokens(toy_items(IDS, seed=2), IDS),
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_shared_and_own_candidates_get_the_same_scores(fusion: str) -> None:
    model = make_model(fusion)
    user, item = sides(model)
    shared = model.score(user, item)
    own = model.score(user, item.map(lambda tensor: tensor.expand(3, *tensor.shape)))
    assert shared.shape == (3, len(IDS))
    torch.testing.assert_close(shared, own)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_masked_source_has_no_influence(fusion: str) -> None:
    """Masking text equals never having had a text view: other words change nothing."""
    model = make_model(fusion)
    user, item = sides(model)
    text = model.sources.index("text")
    mask = torch.ones(len(model.sources), dtype=torch.bool)
    mask[text] = False
    masked = model.score(user.masked(mask), item.masked(mask))
    without_users = {k: v for k, v in toy_users(3, seed=1).items() if k != "words"}
    without_items = {k: v for k, v in toy_items(IDS, seed=2).items() if k != "titles"}
    never = model.score(model.user_tokens(without_users), model.item_tokens(without_items, IDS))
    torch.testing.assert_close(masked, never)
    assert not torch.allclose(masked, model.score(user, item), atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_source_counts_and_rows_do_not_leak_into_each_other(fusion: str) -> None:
    model = make_model(fusion)
    user, item = sides(model)
    full = model.score(user, item)
    for place in range(len(model.sources)):
        mask = torch.ones(len(model.sources), dtype=torch.bool)
        mask[place] = False
        assert not torch.allclose(full, model.score(user.masked(mask), item.masked(mask)))
    alone = model.score(user.map(lambda tensor: tensor[1:2]), item.map(lambda tensor: tensor[4:7]))
    torch.testing.assert_close(full[1:2, 4:7], alone)


def test_an_absent_row_equals_an_absent_view() -> None:
    model = make_model()
    users = toy_users(3, seed=1)
    absent = dataclasses.replace(users["friends"], rows=torch.full((3,), -1))
    item = sides(model)[1]
    torch.testing.assert_close(
        model.score(model.user_tokens(users | {"friends": absent}), item),
        model.score(model.user_tokens({k: v for k, v in users.items() if k != "friends"}), item),
    )


def test_a_view_without_a_single_row_is_absent() -> None:
    model = make_model()
    users = toy_users(3, seed=1)
    empty = {name: column[:0] for name, column in users["friends"].columns.items()}
    nobody = ViewBatch(empty, torch.full((3,), -1), users["friends"].at_us)
    tokens = model.user_tokens(users | {"friends": nobody})
    assert not tokens.present[:, model.sources.index("social")].any()
    assert torch.isfinite(model.score(tokens, sides(model)[1])).all()


def test_an_unknown_item_has_no_id_but_has_its_attributes() -> None:
    model = make_model()
    ids = torch.tensor([0, 5])
    item = model.item_tokens(toy_items(ids, seed=2), ids)
    behaviour, attributes = model.sources.index("behaviour"), model.sources.index("item")
    assert item.present[:, behaviour].tolist() == [False, True]
    assert item.present[:, attributes].tolist() == [True, True]


def test_rows_shared_by_number_equal_rows_copied() -> None:
    model = make_model()
    users = toy_users(4, seed=1)
    order = torch.tensor([2, 0, 2, 3, 1])
    by_number = {
        name: ViewBatch(batch.columns, order, torch.full((5,), NOW_US))
        for name, batch in users.items()
    }
    item = sides(model)[1]
    torch.testing.assert_close(
        model.score(model.user_tokens(by_number), item),
        model.score(model.user_tokens(users), item)[order],
    )


def test_counters_halve_in_their_half_life() -> None:
    """A count asked for seven days later is the same as half the count asked for now."""
    model = make_model()
    users, item = toy_users(3, seed=1), sides(model)[1]
    activity = users["activity"]
    later = dataclasses.replace(activity, at_us=activity.at_us + 6 * DAY_US)
    halved = dict(activity.columns) | {
        "counter": activity.columns["counter"] / 2,
        "clock_us": activity.columns["clock_us"] + DAY_US,
    }
    now = dataclasses.replace(activity, columns=halved)
    torch.testing.assert_close(
        model.score(model.user_tokens(users | {"activity": later}), item),
        model.score(model.user_tokens(users | {"activity": now}), item),
    )


def test_pairs_follow_from_the_schema() -> None:
    found = {(pair.user_key, pair.item_key) for pair in find_pairs(toy_schema())}
    assert found == {
        ("history.recent", "item_id"),
        ("friends.theirs", "item_id"),
        ("activity.top_categories", "attributes.category"),
        ("words.vector", "titles.vector"),
    }
    assert id_sources(toy_schema()) == ("behaviour", "social")


def test_overlap_counts_a_friends_item_only_where_it_is() -> None:
    model = make_model()
    users = toy_users(1, seed=1)
    theirs = torch.tensor([[3, 7, 0, 0, 0, 0]])
    friends = ViewBatch.gathered(
        {"sequence:theirs": theirs}, torch.tensor([True]), users["friends"].at_us
    )
    user, item = model.user_tokens(users | {"friends": friends}), sides(model)[1]
    pair = next(p for p in model.match.pairs if p.user_key == "friends.theirs")
    overlap = model.match.overlap(pair, user, item, shared=True)
    assert overlap.nonzero()[:, 1].tolist() == [2, 6]  # items 3 and 7 of 1..12
    assert overlap[0, 2] > overlap[0, 6] > 0
    model.match.sizes[str(pair.vocabulary)] = 1_000_000  # no look-up table of that size
    torch.testing.assert_close(model.match.overlap(pair, user, item, shared=True), overlap)


def test_siamese_scores_are_inner_products() -> None:
    model = make_model("siamese")
    user, item = sides(model)
    products = model.retrieval_vectors(user, "user") @ model.retrieval_vectors(item, "item").T
    torch.testing.assert_close(products, model.score(user, item))
    with pytest.raises(ValueError, match="--fusion siamese"):
        make_model("gated").retrieval_vectors(user, "user")


def test_forward_equals_tokens_and_score() -> None:
    model = make_model()
    ids = torch.randint(0, NUM_ITEMS, (3, 4))
    items = toy_items(ids.flatten(), seed=2)
    users = toy_users(3, seed=1)
    whole = model(users, items, ids)
    item = model.item_tokens(items, ids.flatten()).map(lambda t: t.unflatten(0, (3, 4)))
    torch.testing.assert_close(whole, model.score(model.user_tokens(users), item))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_with_every_source_masked_all_scores_are_one_number(fusion: str) -> None:
    model = make_model(fusion)
    user, item = sides(model)
    nothing = torch.zeros(len(model.sources), dtype=torch.bool)
    scores = model.score(user.masked(nothing), item.masked(nothing))
    torch.testing.assert_close(scores, scores[:1, :1].expand(scores.shape))
