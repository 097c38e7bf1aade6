"""Channels in files and back, asked by people that training did not know."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.channels.fits import CHANNELS
from training.blend import Blend, feature
from training.channel_state import Channel, restored, state_of
from training.events import Events
from training.profiles import FriendsTaste, Trending, TrendingCounts
from training.queries import Queries, Ragged, asking
from training.sources import Sources
from training.user_ridge import UserRidge

FITS: dict[str, Callable[[Events, Sources], Channel]] = {
    **CHANNELS,
    "trending": lambda events, _: TrendingCounts(events, 30.0, "trending"),
}
each_channel = pytest.mark.parametrize("name", FITS)


def later(queries: Queries) -> Queries:
    """The same queries after the last event."""
    return replace(queries, at_us=queries.at_us + int(queries.events.at_us.max()) + 1)


@each_channel
def test_what_is_kept_scores_the_same(
    name: str, events: Events, sources: Sources, queries: Queries
) -> None:
    channel = FITS[name](events, sources)
    asked, rows = later(queries), np.arange(len(queries))
    again = restored(type(channel), state_of(channel))
    assert (again.name, again.sources) == (channel.name, channel.sources)
    np.testing.assert_array_equal(again.score(asked, rows), channel.score(asked, rows))


@each_channel
def test_one_asker_is_scored_as_in_a_block(
    name: str, events: Events, sources: Sources, queries: Queries
) -> None:
    channel, asked = FITS[name](events, sources), later(queries)
    whole = channel.score(asked, np.arange(len(asked)))
    for row in (0, len(asked) - 1):
        own = asked.history.row(row)
        history = Ragged(own, np.array([0]), np.array([len(own)]))
        one = asking(events, asked.user_index[[row]], asked.at_us[[row]], history)
        np.testing.assert_allclose(channel.score(one, np.arange(1))[0], whole[row], atol=1e-5)


@each_channel
def test_a_user_without_a_number_is_nobody(name: str, events: Events, sources: Sources) -> None:
    """Not the last user, as -1 would have it."""
    nobody, last = np.array([-1]), np.array([len(events.user_ids) - 1])
    at_us = np.array([int(events.at_us.max()) + 1])
    nothing = Ragged(np.empty(0, np.int64), np.array([0]), np.array([0]))
    channel, rows = FITS[name](events, sources), np.arange(1)
    found = channel.score(asking(events, nobody, at_us, nothing), rows)
    if "behaviour" in channel.sources or "social" in channel.sources:
        assert not found.any()
    if "social" in channel.sources:
        assert channel.score(asking(events, last, at_us, nothing), rows).any()


def test_a_history_speaks_for_an_unknown_user(events: Events, sources: Sources) -> None:
    """Its scores are those of a user without friends and with no row of their own."""
    alone = replace(sources, friends_UU=None)
    channel = UserRidge(events, alone)
    history = Ragged(np.array([1, 5]), np.array([0]), np.array([2]))
    at_us = np.array([int(events.at_us.max()) + 1])
    scores = channel.score(asking(events, np.array([-1]), at_us, history), np.arange(1))
    assert scores[0].std() > 0


def test_counts_go_on_where_the_events_end(events: Events, sources: Sources) -> None:
    counted, trending = TrendingCounts(events, 30.0, "trending"), Trending(30.0)
    at_us = np.array([int(events.at_us.max()) + 5 * 86_400_000_000])
    new_us = int(events.at_us.max()) + 86_400_000_000
    more = replace(
        events,
        user_index=np.append(events.user_index, 0),
        item_index=np.append(events.item_index, 4),
        at_us=np.append(events.at_us, new_us),
        is_positive=np.append(events.is_positive, True),
    )
    nothing = Ragged(np.empty(0, np.int64), np.array([0]), np.array([0]))
    counted.add(4, new_us)
    asked = asking(more, np.array([0]), at_us, nothing)
    np.testing.assert_allclose(
        counted.score(asked, np.arange(1)), trending.score(asked, np.arange(1)), rtol=1e-5
    )


def test_a_scale_of_its_own_is_kept(events: Events, sources: Sources, queries: Queries) -> None:
    class Logits(FriendsTaste):
        has_own_scale = True

    channel, rows = Logits(events, sources), np.arange(len(queries))
    np.testing.assert_array_equal(feature(channel, queries, rows), channel.score(queries, rows))
    total = Blend([channel], np.array([2.0])).score(queries, rows)
    np.testing.assert_allclose(total, 2.0 * channel.score(queries, rows), rtol=1e-6)
