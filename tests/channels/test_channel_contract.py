"""What every channel promises: blocks change nothing, the future is unknown, anybody may ask."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.channels.conftest import EVERYTHING, random_sources
from tests.channels.fits import CHANNELS
from training.baselines import Scorer
from training.blend import Blend
from training.events import Events
from training.profiles import Popularity, Trending
from training.queries import Queries, build_queries
from training.ranking import check_scores
from training.sources import Sources
from training.transitions import Transitions
from training.user_ridge import UserRidge

FITS: dict[str, Callable[[Events, Sources], Scorer]] = {
    **CHANNELS,
    "popularity": lambda events, _: Popularity(events),
    "trending": lambda _, __: Trending(30.0),
    "fused": lambda events, sources: Blend(
        [UserRidge(events, sources), Transitions(events)], np.array([0.5, 2.0])
    ),
}
each_channel = pytest.mark.parametrize("name", FITS)


@each_channel
def test_the_name_is_that_of_the_presets(name: str, events: Events, sources: Sources) -> None:
    assert FITS[name](events, sources).name == name


@each_channel
def test_a_fit_repeats(name: str, events: Events, sources: Sources, queries: Queries) -> None:
    rows = np.arange(len(queries))
    np.testing.assert_array_equal(
        *(FITS[name](events, sources).score(queries, rows) for _ in range(2))
    )


@each_channel
def test_a_block_is_a_part_of_the_whole(
    name: str, events: Events, sources: Sources, queries: Queries
) -> None:
    scorer = FITS[name](events, sources)
    whole = scorer.score(queries, np.arange(len(queries)))
    check_scores(whole, name, (len(queries), queries.num_items))
    assert whole.dtype == np.float32
    some = np.random.default_rng(0).permutation(len(queries))[:7]
    np.testing.assert_allclose(scorer.score(queries, some), whole[some], atol=1e-5)


@each_channel
def test_the_future_changes_no_score(name: str, events: Events) -> None:
    # Whatever happens from the test period's first query on: other items, other sources' events.
    queries = build_queries(events, "test", EVERYTHING)
    first = queries.take(queries.at_us == queries.at_us.min())
    later = events.at_us >= first.at_us[0]
    item_index = np.where(later, (events.item_index + 7) % len(events.item_ids), events.item_index)
    changed = replace(events, item_index=item_index)
    scores = [
        FITS[name](world, random_sources(world)).score(
            replace(first, events=world), np.arange(len(first))
        )
        for world in (events, changed)
    ]
    np.testing.assert_array_equal(*scores)


@each_channel
def test_validation_take_ups_do_not_reach_the_fit(name: str, events: Events) -> None:
    # The same history is asked of two fits, one with other events after the training period.
    queries = build_queries(events, "test", EVERYTHING)
    later = events.at_us >= events.train_end_us
    item_index = np.where(later, (events.item_index + 3) % len(events.item_ids), events.item_index)
    changed = replace(events, item_index=item_index)
    ours, theirs = (FITS[name](world, random_sources(world)) for world in (events, changed))
    rows = np.arange(len(queries))
    np.testing.assert_array_equal(ours.score(queries, rows), theirs.score(queries, rows))


@each_channel
def test_somebody_without_a_history_may_ask(
    name: str, events: Events, sources: Sources, queries: Queries
) -> None:
    empty = replace(queries, history=replace(queries.history, end=queries.history.start))
    scores = FITS[name](events, sources).score(empty, np.arange(len(empty)))
    assert np.isfinite(scores).all()


def test_friends_speak_for_a_user_who_did_nothing(events: Events, sources: Sources) -> None:
    nobody = 0
    kept = events.user_index != nobody
    silent = replace(
        events,
        user_index=events.user_index[kept],
        item_index=events.item_index[kept],
        at_us=events.at_us[kept],
        is_positive=events.is_positive[kept],
    )
    queries = build_queries(silent, "test", EVERYTHING)
    asked = replace(
        queries,
        user_index=np.zeros_like(queries.user_index),
        history=replace(queries.history, end=queries.history.start),
    )
    scores = UserRidge(silent, random_sources(silent)).score(asked, np.arange(1))
    assert scores[0].std() > 0


def test_a_data_set_with_take_ups_alone_will_do(events: Events, queries: Queries) -> None:
    for name in (
        "user-ridge",
        "item-ridge",
        "transitions",
        "als",
        "bpr",
        "light-graph",
        "sasrec",
        "popularity",
    ):
        scores = FITS[name](events, Sources()).score(queries, np.arange(len(queries)))
        assert np.isfinite(scores).all()
