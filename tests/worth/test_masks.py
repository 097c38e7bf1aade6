"""Lists with sources hidden: what a mask hides counts for nothing, and what it leaves for all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore

from tests.worth.planted import Planted
from training.blend import Blend
from training.bundle import EVALUATED, load_bundle
from training.channels import fit_channels, known_sources
from training.events import read_events
from training.masks import Mask, MaskableServed, masked_lists, one_day_blocks, only
from training.queries import DAY_US, Queries, QueryOptions, build_queries
from training.ranking import top_items
from training.robustness import missing_rows
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL, Served


@pytest.fixture(scope="module")
def asked(world: Path) -> Queries:
    return build_queries(read_events(world), "test", QueryOptions(max_users=15))


@pytest.fixture(scope="module")
def model(asked: Queries, bundle: Path, repo: Path, world: Path) -> MaskableServed:
    own, store, events = (
        load_bundle(bundle.parent / EVALUATED),
        FeatureStore(str(repo)),
        asked.events,
    )
    channels: list[Any] = fit_channels(events, known_sources(store, own.encoder, world, events))
    features = QueryFeatures(store, own.schema, own.encoder, events)
    # Every channel speaks, whatever the weights that a small world teaches.
    served = Served(np.full((1, 1 + len(channels)), 0.5), (), tuple(channels))
    return MaskableServed(FusedScorer(MODEL, own.model, features), served, "fused")


def test_a_mask_that_hides_nothing_leaves_the_lists_of_full_ranking(
    model: MaskableServed, asked: Queries
) -> None:
    served = model.served
    blend = Blend([model.scorer, *served.channels], served.weights_NK, steps=served.steps)
    found = masked_lists(model, asked, [only(model.sources, model, asked)], k=10)
    rows = np.arange(len(asked))
    wanted = blend.score(asked, rows)[asked.relevant.flat(rows)]
    np.testing.assert_allclose(found.found_MP[0], wanted, atol=1e-4)
    agree = found.top_MQK[0] == top_items(blend, asked, 10)
    assert agree.mean() > 0.99, "but for items whose scores differ by rounding alone"


@pytest.mark.parametrize("hidden_source", ["behaviour", "item", "social", "text"])
def test_channels_that_live_on_a_hidden_source_say_nothing(
    model: MaskableServed, asked: Queries, hidden_source: str
) -> None:
    rows = np.flatnonzero(asked.history.lengths > 0)
    rows = rows[[not without_friends(model, asked, row) for row in rows.tolist()]]
    left = only({*model.sources} - {hidden_source}, model, asked)
    (with_channels,) = model.masked_scores(asked, rows, [left])
    nobody = replace(model.served, weights_NK=model.served.weights_NK[:, :1], channels=())
    (of_model,) = MaskableServed(model.scorer, nobody, "model").masked_scores(asked, rows, [left])
    terms = zip(model.served.channels, model.served.terms(asked, rows), strict=True)
    heard = [term for channel, term in terms if hidden_source not in channel.sources]
    assert 0 < len(heard) < len(model.served.channels)
    np.testing.assert_allclose(with_channels, of_model + np.sum(heard, axis=0), atol=1e-4)


def without_friends(model: MaskableServed, asked: Queries, row: int) -> bool:
    there = model.scorer.user_tokens(asked, np.array([row])).present[0]
    return not bool(there[model.sources.index("social")])


def test_without_any_source_every_item_scores_the_same(
    model: MaskableServed, asked: Queries
) -> None:
    (scores,) = model.masked_scores(asked, np.arange(5), [only([], model, asked)])
    assert np.ptp(scores, axis=1).max() < 1e-5


def test_a_user_whose_row_is_missing_has_other_scores_and_nobody_else(
    model: MaskableServed, asked: Queries
) -> None:
    rows = np.arange(len(asked))
    whole = only(model.sources, model, asked)
    user, social = asked.user_index[0], model.sources.index("social")
    users_US = whole.users_US.copy()
    users_US[user, social] = False
    before, after = model.masked_scores(asked, rows, [whole, replace(whole, users_US=users_US)])
    own = asked.user_index == user
    assert (before[own] != after[own]).any(axis=1).all()
    np.testing.assert_array_equal(before[~own], after[~own])


def test_an_item_whose_row_is_missing_has_another_score_and_no_other_item(
    model: MaskableServed, asked: Queries
) -> None:
    rows = np.arange(5)
    whole = only(model.sources, model, asked)
    items_IS = whole.items_IS.copy()
    items_IS[7, model.sources.index("text")] = False
    before, after = model.masked_scores(asked, rows, [whole, replace(whole, items_IS=items_IS)])
    assert (before[:, 7] != after[:, 7]).all()
    np.testing.assert_allclose(np.delete(before, 7, 1), np.delete(after, 7, 1), atol=1e-5)


def test_blocks_hold_every_query_once_and_one_day_each(queries: Queries) -> None:
    blocks = list(one_day_blocks(queries))
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(len(queries)))
    for rows in blocks:
        assert len(np.unique(queries.at_us[rows] // DAY_US)) == 1


def test_scores_that_are_no_numbers_are_refused(queries: Queries) -> None:
    class Broken(Planted):
        def masked_scores(self, queries, rows, masks):  # type: ignore[no-untyped-def]
            for scores in super().masked_scores(queries, rows, masks):
                yield scores * np.nan

    scorer = Broken()
    with pytest.raises(ValueError, match=r"'planted' returned .* nan"):
        masked_lists(scorer, queries, [only(["truth"], scorer, queries)], k=10)


def test_missing_rows_are_a_share_of_one_source_and_stay_missing_at_greater_shares() -> None:
    gaps = missing_rows(["a", "b"], num_users=40, num_items=80, seed=3)
    assert set(gaps) == {(source, share) for source in "ab" for share in (0.25, 0.5, 0.75)}
    for (source, share), mask in gaps.items():
        place = "ab".index(source)
        for seen in (mask.users_US, mask.items_IS):
            assert (~seen[:, place]).mean() == share
            assert seen[:, 1 - place].all()
    assert not (hidden(gaps["a", 0.25]) & ~hidden(gaps["a", 0.75])).any()
    again = missing_rows(["a", "b"], num_users=40, num_items=80, seed=4)
    assert (hidden(again["a", 0.5]) != hidden(gaps["a", 0.5])).any()


def hidden(mask: Mask) -> np.ndarray:
    return ~np.concatenate([mask.users_US, mask.items_IS])
