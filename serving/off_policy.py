"""Off-policy evaluation: what another way of choosing slates would have been worth.

In: impressions whose places were explored, the feedback after them, and a policy. Out: take-ups a
place under that policy, without showing it to anybody. It rests on items alone: what a place adds
to an item is taken to be the same for all policies.
"""

# Shapes: N places of all impressions, one after the other

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.impressions import Impression

Floats = npt.NDArray[np.float64]
DAY_US = 86_400_000_000

Policy = Callable[[Impression], Sequence[float]]
"""For each item of an impression the probability that the policy would show it to that user then:
1 or 0 where the policy draws nothing."""


class Event(Protocol):
    """Feedback, as the event log has it."""

    @property
    def user_id(self) -> str: ...
    @property
    def item_id(self) -> str: ...
    @property
    def at_us(self) -> int: ...
    @property
    def is_positive(self) -> bool: ...


@dataclass(frozen=True)
class Estimate:
    """What a policy is worth, in take-ups a place."""

    value: float
    """Self-normalised (SNIPS): take-ups by weight, over the sum of weights."""
    standard_error: float
    """Of `value`, with the places of an impression taken as one draw."""
    unnormalised: float
    """IPS: take-ups by weight, over the number of places. Unbiased, and noisier."""
    support: float
    """Mean weight. Near 1 where the log could show all that the policy would; what it could not is
    not in the value."""
    effective_places: float
    """So many equally weighted places would tell as much."""


def inverse_propensity(
    impressions: Sequence[Impression],
    events: Iterable[Event],
    policy: Policy,
    horizon_days: float = 1.0,
) -> Estimate:
    """The policy's worth by inverse propensities, plain and self-normalised (Swaminathan and
    Joachims 2015, "The self-normalized estimator for counterfactual learning").

    ValueError where there is nothing to go by.
    """
    if not impressions:
        raise ValueError("no impressions: serve with explore=0.05, say, and come back")
    reward_N = rewards(impressions, events, horizon_days)
    wanted_N = np.concatenate([np.asarray(policy(one), np.float64) for one in impressions])
    shown_N = np.concatenate([one.propensities for one in impressions])
    weight_N = wanted_N / shown_N
    total = weight_N.sum()
    if not total:
        raise ValueError(
            f"the policy would have shown none of the items of {len(impressions)} impressions, so "
            "they say nothing of it; explore more, or longer"
        )
    value = float(weight_N @ reward_N / total)
    ends = np.cumsum([len(one.item_ids) for one in impressions])
    residuals = np.add.reduceat(weight_N * (reward_N - value), np.append(0, ends[:-1]))
    return Estimate(
        value=value,
        standard_error=float(np.sqrt((residuals**2).sum()) / total),
        unnormalised=float(weight_N @ reward_N / len(weight_N)),
        support=float(weight_N.mean()),
        effective_places=float(total**2 / (weight_N**2).sum()),
    )


def rewards(
    impressions: Sequence[Impression], events: Iterable[Event], horizon_days: float
) -> Floats:
    """1 where the user took the item up within the horizon after the impression, [N]. A take-up is
    credited to the last impression before it that had the item."""
    shown: dict[tuple[str, str], list[tuple[int, int]]] = {}
    place = 0
    for impression in impressions:
        for item_id in impression.item_ids:
            shown.setdefault((impression.user_id, item_id), []).append((impression.at_us, place))
            place += 1
    reward_N = np.zeros(place)
    for instants in shown.values():
        instants.sort()
    for event in events:
        before = shown.get((event.user_id, event.item_id), [])
        last = bisect_right(before, event.at_us, key=lambda one: one[0]) - 1
        if event.is_positive and last >= 0:
            at_us, place = before[last]
            reward_N[place] = max(reward_N[place], event.at_us - at_us <= horizon_days * DAY_US)
    return reward_N
