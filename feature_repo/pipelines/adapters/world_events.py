"""What happens in the synthetic world: who takes up which item, when, and what made them.

In: people and items. Out: one `Step` after the other (a day, or less where days are busy), in order
of time. Memory holds one step and each user's last `MEMORY` events, however long the world runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.pipelines.adapters.world_draw import ItemDraw, ThemeIndex
from feature_repo.pipelines.adapters.world_items import Items
from feature_repo.pipelines.adapters.world_people import DAY_US, People

# Shapes: n events of a step, N users, K tastes a user, R remembered events

CAUSES = ("taste", "friend", "trend", "chance", "skip")
TASTE, FRIEND, TREND, CHANCE, SKIP = range(len(CAUSES))
CAUSE_SHARES = (0.36, 0.40, 0.14, 0.02, 0.08)
"""Wished for; one whose cause finds no item (no friend took up anything lately) becomes taste."""
NEWCOMER_FRIEND_SHARE = 0.65
"""The share of friends' influence in a user's first `NEWCOMER_DAYS`."""
NEWCOMER_DAYS = 14
FRIEND_DAYS = 7
"""How long what a friend took up stays contagious."""
NEWCOMER_ZEAL = 2.5
"""How many times more active users are in their first `NEWCOMER_DAYS`."""
MEMORY = 64
"""No user repeats one of the last 64 items; it is also where friends look."""
TRIES = 8
EVENTS_PER_STEP = 400_000
RATED_SHARE = 0.3


@dataclass(frozen=True)
class Step:
    """Events of one stretch of time, sorted by time. `friend_n` is the user followed, or -1."""

    user_n: npt.NDArray[np.int64]
    item_n: npt.NDArray[np.int64]
    at_us_n: npt.NDArray[np.int64]
    cause_n: npt.NDArray[np.int8]
    friend_n: npt.NDArray[np.int64]
    match_n: npt.NDArray[np.float64]
    """How well the item fits the user's tastes, 0 to 1."""
    stars_n: npt.NDArray[np.float64]
    """The rating, 1 to 5; nan where the user gave none."""

    @property
    def num(self) -> int:
        return len(self.user_n)

    @property
    def positive_n(self) -> npt.NDArray[np.bool_]:
        """Take-ups: everything but skips and ratings of one or two stars."""
        positive: npt.NDArray[np.bool_] = (self.cause_n != SKIP) & ~(self.stars_n < 3)
        return positive

    def only(self, kept: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Step:
        """The events chosen by a mask or by row numbers."""
        return Step(**{name: column[kept] for name, column in vars(self).items()})


class World:
    """The state that events change: what every user did lately."""

    def __init__(self, people: People, items: Items) -> None:
        self.people = people
        self.items = items
        self.recent_items_NR = np.full((people.num, MEMORY), -1, dtype=np.int32)
        self.recent_us_NR = np.full((people.num, MEMORY), -1, dtype=np.int64)
        self.cursor_N = np.zeros(people.num, dtype=np.int64)

    def saw(
        self, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Whether the item is among the user's remembered ones. [n]"""
        seen: npt.NDArray[np.bool_] = (self.recent_items_NR[users] == items[:, None]).any(axis=1)
        return seen

    def remember(self, step: Step) -> None:
        """Enter a step's events; what was no take-up gets no time, so that no friend follows it."""
        order = np.argsort(step.user_n, kind="stable")
        users = step.user_n[order]
        first = np.searchsorted(users, users)
        place = np.arange(len(users)) - first
        counts = np.searchsorted(users, users, side="right") - first
        kept = place >= counts - MEMORY
        row, slot = users[kept], (self.cursor_N[users] + place)[kept] % MEMORY
        self.recent_items_NR[row, slot] = step.item_n[order][kept]
        self.recent_us_NR[row, slot] = np.where(step.positive_n, step.at_us_n, -1)[order][kept]
        np.add.at(self.cursor_N, step.user_n, 1)

    def match(
        self, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """How much of the user's tastes the item serves, as a share of the strongest taste. [n]"""
        tastes, shares = self.people.tastes_NK[users], self.people.shares_NK[users]
        total = np.zeros(len(users))
        for side in range(2):
            same = tastes == self.items.themes_M2[items, side, None]
            total += (shares * same).sum(axis=1) * self.items.shares_M2[items, side]
        best: npt.NDArray[np.float64] = np.minimum(total / shares.max(axis=1), 1.0)
        return best


def run(
    people: People,
    items: Items,
    num_events: int,
    num_sub_themes: int,
    start_us: int,
    end_us: int,
    rng: np.random.Generator,
) -> Iterator[Step]:
    """Let time pass: yield about `num_events` events, step by step in order of time."""
    world, by_theme = World(people, items), ThemeIndex(items, num_sub_themes)
    borders, planned = plan(people, num_events, start_us, end_us)
    num_done = 0
    for i, total in enumerate(np.cumsum(planned)):
        begin, stop = int(borders[i]), int(borders[i + 1])
        step = _draw_step(world, by_theme, int(total) - num_done, begin, stop, rng)
        world.remember(step)
        num_done += step.num
        yield step


def plan(
    people: People, num_events: int, start_us: int, end_us: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Borders of the steps and how many events fall into each: in proportion to who is there."""
    num_days = (end_us - start_us) // DAY_US
    steps_per_day = 1 + 2 * num_events // (num_days * EVENTS_PER_STEP)
    borders = np.linspace(start_us, end_us, num_days * steps_per_day + 1).astype(np.int64)
    order = np.argsort(people.joined_us_N, kind="stable")
    rates = np.concatenate([[0.0], np.cumsum(people.rate_N[order])])
    present = rates[np.searchsorted(people.joined_us_N[order], borders[:-1], side="right")]
    ends = np.rint(np.cumsum(present) / present.sum() * num_events).astype(np.int64)
    return borders, np.diff(ends, prepend=0)


def _draw_step(
    world: World,
    by_theme: ThemeIndex,
    num: int,
    begin_us: int,
    stop_us: int,
    rng: np.random.Generator,
) -> Step:
    """Who acts, when, why, and on what. Everything looks at the state before the step."""
    people = world.people
    age_us_N = begin_us - people.joined_us_N
    zeal_N = np.where(age_us_N < NEWCOMER_DAYS * DAY_US, NEWCOMER_ZEAL, 1.0)
    rates = np.cumsum(np.where(age_us_N >= 0, people.rate_N * zeal_N, 0.0))
    users = np.searchsorted(rates, rng.random(num) * rates[-1], side="right")
    at_us = np.sort(rng.integers(begin_us // 1000, stop_us // 1000, num)) * 1000
    causes = _draw_causes(age_us_N[users], rng)
    draw = ItemDraw(world.items, by_theme, begin_us)
    chosen, friends = _choose(world, draw, users, causes, begin_us, rng)
    match = world.match(users, np.maximum(chosen, 0))
    stars = _draw_stars(match, causes, rng)
    step = Step(users, chosen, at_us, causes, friends, match, stars)
    return step.only(_first_of_pair(users, chosen, world.items.num))


def _draw_causes(age_us_n: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int8]:
    usual = rng.choice(len(CAUSES), len(age_us_n), p=CAUSE_SHARES)
    others = np.array(CAUSE_SHARES)
    others[FRIEND] = 0
    others *= (1 - NEWCOMER_FRIEND_SHARE) / others.sum()
    others[FRIEND] = NEWCOMER_FRIEND_SHARE
    newcomers = rng.choice(len(CAUSES), len(age_us_n), p=others)
    return np.where(age_us_n < NEWCOMER_DAYS * DAY_US, newcomers, usual).astype(np.int8)


def _choose(
    world: World,
    draw: ItemDraw,
    users: npt.NDArray[np.int64],
    causes: npt.NDArray[np.int8],
    at_us: int,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """An item for each event (-1: none) and whom it came from; `causes` is corrected in place."""
    chosen = np.full(len(users), -1, dtype=np.int64)
    friends = np.full(len(users), -1, dtype=np.int64)
    for cause in (FRIEND, SKIP, TREND, CHANCE, TASTE):
        open_n = np.flatnonzero((causes == cause) & (chosen < 0))
        for _ in range(TRIES):
            if cause == FRIEND:
                followed, found = _from_friend(world, users[open_n], at_us, rng)
                friends[open_n] = followed
            else:
                found = _from_draw(world, draw, cause, users[open_n], rng)
            wrong = (found < 0) | world.saw(users[open_n], found)
            chosen[open_n] = np.where(wrong, -1, found)
            open_n = open_n[wrong]
        if cause != TASTE:
            causes[open_n] = TASTE
            friends[open_n] = -1
    return chosen, friends


def _from_draw(
    world: World,
    draw: ItemDraw,
    cause: int,
    users: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    if cause == TASTE:
        shares = np.cumsum(world.people.shares_NK[users], axis=1)
        which = (rng.random((len(users), 1)) * shares[:, -1:] > shares).sum(axis=1)
        return draw.of_theme(world.people.tastes_NK[users, which], rng)
    if cause == CHANCE:
        return draw.any(len(users), rng)
    items = draw.trending(len(users), rng)
    if cause == SKIP:  # people are shown what is popular and pass over what is not for them
        return np.where(world.match(users, items) > 0, -1, items)
    return items


def _from_friend(
    world: World, users: npt.NDArray[np.int64], at_us: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One friend each and one of the friend's last take-ups; -1 where that is too long ago."""
    people = world.people
    first, last = people.offsets[users], people.offsets[users + 1]
    link = np.minimum(first + (rng.random(len(users)) * (last - first)).astype(np.int64), last - 1)
    link = np.maximum(link, 0)
    if not len(people.targets_L):
        return np.full(len(users), -1), np.full(len(users), -1)
    friends = people.targets_L[link].astype(np.int64)
    back = np.minimum(rng.geometric(0.4, len(users)), MEMORY)
    slot = (world.cursor_N[friends] - back) % MEMORY
    lately = world.recent_us_NR[friends, slot] >= at_us - FRIEND_DAYS * DAY_US
    valid = (last > first) & (people.since_us_L[link] < at_us) & lately
    return friends, np.where(valid, world.recent_items_NR[friends, slot], -1).astype(np.int64)


def _draw_stars(
    match: npt.NDArray[np.float64], causes: npt.NDArray[np.int8], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Whole stars: better with the match, and what a friend took up is liked a little better."""
    mood = 2.9 + 1.8 * match + 0.5 * (causes == FRIEND) + rng.normal(0.0, 0.7, len(match))
    rated = (rng.random(len(match)) < RATED_SHARE) & (causes != SKIP)
    return np.where(rated, np.clip(np.rint(mood), 1, 5), np.nan)


def _first_of_pair(
    users: npt.NDArray[np.int64], items: npt.NDArray[np.int64], num_items: int
) -> npt.NDArray[np.int64]:
    """Row numbers of events that found an item, each pair of user and item once."""
    _, first = np.unique(users * np.int64(num_items + 1) + items, return_index=True)
    kept: npt.NDArray[np.int64] = np.sort(first[items[first] >= 0])
    return kept
