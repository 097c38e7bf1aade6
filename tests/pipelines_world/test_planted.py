"""What the synthetic world plants is there: tastes, friends, trends, newcomers, long tails."""

import numpy as np

from feature_repo.pipelines.adapters.world_events import (
    CHANCE,
    EVENTS_PER_STEP,
    FRIEND,
    FRIEND_DAYS,
    MEMORY,
    SKIP,
    TASTE,
    TREND,
    plan,
)
from feature_repo.pipelines.adapters.world_people import DAY_US
from tests.pipelines_world.conftest import Drawn
from tests.pipelines_world.oracle import ndcg_at_10


def test_an_oracle_gains_from_tastes_and_again_from_friends(drawn: Drawn) -> None:
    ndcg = ndcg_at_10(drawn)
    assert 0.02 < ndcg["lately"] < 0.12
    assert ndcg["taste"] > 2.5 * ndcg["lately"]
    assert ndcg["friends"] > 1.2 * ndcg["taste"]
    assert ndcg["friends"] < 0.6  # much is still left to chance


def test_every_cause_has_its_share(drawn: Drawn) -> None:
    shares = np.bincount(drawn.events.cause_n, minlength=5) / drawn.events.num
    assert 0.2 < shares[FRIEND] < 0.4
    assert shares[TASTE] > 0.35
    assert shares[TREND] > 0.08
    assert shares[SKIP] > 0.05
    assert shares[CHANCE] > 0.01


def test_an_event_caused_by_a_friend_follows_a_take_up_of_that_friend(drawn: Drawn) -> None:
    events, people = drawn.events, drawn.people
    caused = np.flatnonzero(events.cause_n == FRIEND)
    assert (events.friend_n[events.cause_n != FRIEND] == -1).all()
    for i in caused[:: max(1, len(caused) // 300)]:
        user, friend, at_us = events.user_n[i], events.friend_n[i], events.at_us_n[i]
        links = slice(people.offsets[user], people.offsets[user + 1])
        since = people.since_us_L[links][people.targets_L[links] == friend]
        assert len(since) == 1
        assert since[0] < at_us
        theirs = (events.user_n == friend) & (events.item_n == events.item_n[i])
        before = at_us - events.at_us_n[theirs & events.positive_n]
        assert (before > 0).any()
        assert before[before > 0].min() < (FRIEND_DAYS + 1) * DAY_US


def test_events_of_taste_match_and_skips_do_not(drawn: Drawn) -> None:
    events = drawn.events
    assert (events.match_n[events.cause_n == TASTE] > 0).all()
    # A skip that found nothing unfit to pass over becomes taste, so none of them matches.
    assert (events.match_n[events.cause_n == SKIP] == 0).all()
    assert not events.positive_n[events.cause_n == SKIP].any()


def test_friends_share_tastes_more_often_than_strangers(drawn: Drawn) -> None:
    people = drawn.people
    first = people.tastes_NK[:, 0]
    source = np.repeat(np.arange(people.num), np.diff(people.offsets))
    alike = (first[source] == first[people.targets_L]).mean()
    strangers = (first[source] == first[np.random.default_rng(0).permutation(source)]).mean()
    assert alike > 0.5
    assert strangers < 0.1


def test_friendship_is_mutual_and_follows_are_one_way(drawn: Drawn) -> None:
    people = drawn.people
    source = np.repeat(np.arange(people.num), np.diff(people.offsets))
    links = set(zip(source.tolist(), people.targets_L.tolist(), strict=True))
    assert len(links) == len(source)
    for a, b, follow in zip(source, people.targets_L, people.follow_L, strict=True):
        assert a != b
        assert ((int(b), int(a)) in links) != follow


def test_nothing_happens_before_the_user_and_the_item_are_there(drawn: Drawn) -> None:
    events = drawn.events
    assert (events.at_us_n > drawn.people.joined_us_N[events.user_n]).all()
    assert (events.at_us_n > drawn.items.available_us_M[events.item_n]).all()
    assert (np.diff(events.at_us_n) >= 0).all()
    assert events.at_us_n[0] >= drawn.config.start_us
    assert events.at_us_n[-1] < drawn.config.end_us


def test_users_and_items_are_new_in_the_last_tenth_of_the_time(drawn: Drawn) -> None:
    late_us = drawn.config.end_us - (drawn.config.end_us - drawn.config.start_us) // 10
    late = drawn.events.only(drawn.events.at_us_n >= late_us)
    new_users = drawn.people.joined_us_N[late.user_n] >= late_us
    new_items = drawn.items.available_us_M[late.item_n] >= late_us
    assert new_users.mean() > 0.02
    assert new_items.mean() > 0.1


def test_activity_and_popularity_have_long_tails(drawn: Drawn) -> None:
    by_user = np.sort(np.bincount(drawn.events.user_n, minlength=drawn.people.num))[::-1]
    by_item = np.sort(np.bincount(drawn.events.item_n, minlength=drawn.items.num))[::-1]
    assert by_user[: len(by_user) // 10].sum() > 0.3 * by_user.sum()
    assert by_item[: len(by_item) // 10].sum() > 0.2 * by_item.sum()


def test_trends_pass(drawn: Drawn) -> None:
    """What is most popular in one month is hardly so two months later."""
    events, start_us = drawn.events, drawn.config.start_us
    month = (events.at_us_n - start_us) // (30 * DAY_US)
    top = [
        set(np.argsort(-np.bincount(events.item_n[month == m], minlength=drawn.items.num))[:40])
        for m in (2, 4)
    ]
    assert len(top[0] & top[1]) < 15


def test_nobody_repeats_a_remembered_item(drawn: Drawn) -> None:
    events = drawn.events
    order = np.argsort(events.user_n, kind="stable")
    users, items = events.user_n[order], events.item_n[order]
    for user in np.unique(users)[::20]:
        mine = items[users == user]
        for i in range(1, len(mine)):
            assert mine[i] not in mine[max(0, i - MEMORY) : i]


def test_a_hundred_million_events_are_drawn_in_bounded_steps(drawn: Drawn) -> None:
    """Memory holds one step, so its size is what bounds memory."""
    start_us, end_us = drawn.config.start_us, drawn.config.end_us
    borders, planned = plan(drawn.people, 100_000_000, start_us, end_us)
    assert planned.sum() == 100_000_000
    assert planned.max() < EVENTS_PER_STEP
    assert borders[0] == start_us
    assert borders[-1] == end_us
