"""Scorers that know the truth of a world, and how well they rank what users take up next.

The taste oracle knows tastes, themes and attraction; the friends' oracle also what friends took up
in the last days. Their distance is the room that a model's social source has.
"""

from collections.abc import Iterator

import numpy as np

from feature_repo.pipelines.adapters.world_events import FRIEND_DAYS
from feature_repo.pipelines.adapters.world_people import DAY_US
from tests.pipelines_world.conftest import Drawn

WEEK_US = 7 * DAY_US


def ndcg_at_10(drawn: Drawn, every: int = 3) -> dict[str, float]:
    """Mean NDCG@10 over every third take-up of the last tenth of the events."""
    gains: dict[str, list[float]] = {}
    for event, scores, known in _queries(drawn, every):
        item = drawn.events.item_n[event]
        for name, score in scores.items():
            ranked = np.where(known, -1.0, score)
            rank = (ranked > ranked[item]).sum() + ((ranked == ranked[item]).sum() - 1) / 2
            gains.setdefault(name, []).append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    return {name: float(np.mean(values)) for name, values in gains.items()}


def _queries(drawn: Drawn, every: int) -> Iterator[tuple[int, dict[str, np.ndarray], np.ndarray]]:
    events, items = drawn.events, drawn.items
    took = events.positive_n
    for event in np.flatnonzero(took)[-int(took.sum() * 0.1) :: every]:
        user, at_us = events.user_n[event], events.at_us_n[event]
        day_us = at_us // DAY_US * DAY_US  # what friends did today comes into play tomorrow
        known = items.available_us_M >= at_us
        known[events.item_n[:event][events.user_n[:event] == user]] = True
        if known[events.item_n[event]]:
            continue
        lately = took & (events.at_us_n < at_us) & (events.at_us_n >= at_us - WEEK_US)
        popular = np.bincount(events.item_n[lately], minlength=items.num).astype(float)
        taste = _taste(drawn, int(user), int(day_us))
        friends = _friends(drawn, int(user), int(day_us))
        yield event, {"lately": popular, "taste": taste, "friends": 0.6 * taste + friends}, known


def _taste(drawn: Drawn, user: int, at_us: int) -> np.ndarray:
    items, people = drawn.items, drawn.people
    attraction = items.attraction(at_us)
    score = 0.2 * attraction / attraction.sum()
    for taste, share in zip(people.tastes_NK[user], people.shares_NK[user], strict=True):
        weight = attraction * ((items.themes_M2 == taste) * items.shares_M2).sum(axis=1)
        score = score + share * weight / max(weight.sum(), 1e-12)
    return score


def _friends(drawn: Drawn, user: int, at_us: int) -> np.ndarray:
    people, events = drawn.people, drawn.events
    links = slice(people.offsets[user], people.offsets[user + 1])
    friends = people.targets_L[links][people.since_us_L[links] < at_us]
    recent = (events.at_us_n < at_us) & (events.at_us_n >= at_us - FRIEND_DAYS * DAY_US)
    chosen = recent & events.positive_n & np.isin(events.user_n, friends)
    score = np.bincount(events.item_n[chosen], minlength=drawn.items.num).astype(float)
    return score / max(score.sum(), 1.0)
