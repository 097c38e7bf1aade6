"""Off-policy evaluation recovers what was planted, and says how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.choosing import SlateOptions, choose
from serving.impressions import Impression
from serving.off_policy import DAY_US, Estimate, inverse_propensity

NUM, K = 12, 3  # candidates, all of which somebody may be shown, and places
TIMES = 4_000
CHANCE = np.linspace(0.05, 0.6, NUM)  # that whoever is shown an item takes it up
SCORES = -np.linspace(0, 1, NUM, dtype=np.float32)  # the ranker prefers what people do not


@dataclass(frozen=True)
class Shelf:
    """Candidates of which nothing is told."""

    vectors: None = None

    def memberships(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.zeros((len(positions), 0), np.float32)


@dataclass(frozen=True)
class Fed:
    """A piece of feedback."""

    user_id: str
    item_id: str
    at_us: int
    is_positive: bool = True


@cache
def served(explore: float = 0.5) -> tuple[list[Impression], list[Fed]]:
    """So many slates, each to another user, and what users took up."""
    rng, impressions, events = np.random.default_rng(2), [], []
    for number in range(TIMES):
        options = SlateOptions(explore=explore)
        chosen = choose(Shelf(), np.arange(NUM), SCORES, K, options, f"request {number}")
        assert chosen.propensities is not None
        slate = chosen.places.tolist()
        impressions.append(
            Impression(
                request_id=f"request {number}",
                version="1",
                user_id=f"u{number}",
                at_us=number * DAY_US,
                item_ids=[str(place) for place in slate],
                propensities=chosen.propensities.tolist(),
                explore=explore,
            )
        )
        taken = [place for place in slate if rng.random() < CHANCE[place]]
        events += [Fed(f"u{number}", str(place), number * DAY_US + 60_000_000) for place in taken]
    return impressions, events


def always(*places: int) -> "Fixed":
    return Fixed(dict.fromkeys(map(str, places), 1.0))


@dataclass(frozen=True)
class Fixed:
    """A policy that shows the same to everybody, with these probabilities."""

    chance: dict[str, float]

    def __call__(self, impression: Impression) -> Sequence[float]:
        return [self.chance.get(item_id, 0.0) for item_id in impression.item_ids]

    @property
    def planted(self) -> float:
        """Take-ups a place."""
        return sum(chance * float(CHANCE[int(item)]) for item, chance in self.chance.items()) / K


def close(estimate: Estimate, planted: float) -> bool:
    return abs(estimate.value - planted) < 4 * estimate.standard_error


@pytest.mark.parametrize(
    "policy",
    [
        always(0, 1, 2),  # as served but for exploring
        always(3, 4, 5),
        always(9, 10, 11),  # the best there is
        Fixed({str(place): K / NUM for place in range(NUM)}),  # by lot
    ],
)
def test_the_worth_of_a_policy_that_was_never_served_is_recovered(policy: Fixed) -> None:
    impressions, events = served()
    estimate = inverse_propensity(impressions, events, policy)
    assert close(estimate, policy.planted)
    assert estimate.standard_error < 0.06
    assert estimate.support == pytest.approx(1, abs=0.1)
    assert estimate.unnormalised == pytest.approx(policy.planted, abs=0.06)
    taken_up = len(events) / (K * TIMES)
    if policy != always(0, 1, 2):
        assert not close(estimate, taken_up)  # what somebody would say who counts take-ups


def test_what_the_log_could_not_show_is_told_by_the_support() -> None:
    impressions, events = served()
    estimate = inverse_propensity(impressions, events, always(10, 11, 99))
    assert estimate.support == pytest.approx(2 / 3, abs=0.1)
    assert close(estimate, always(10, 11).planted * 3 / 2)  # per place that it could tell of
    assert estimate.unnormalised == pytest.approx(always(10, 11).planted, abs=0.06)


def test_the_standard_error_is_the_spread_of_estimates() -> None:
    impressions, events = served()
    parts = [
        inverse_propensity(impressions[start : start + 200], events, always(3, 4, 5))
        for start in range(0, TIMES, 200)
    ]
    spread = np.std([part.value for part in parts])
    told = np.mean([part.standard_error for part in parts])
    assert told == pytest.approx(spread, rel=0.4)


def test_weights_that_differ_tell_less_than_their_number() -> None:
    impressions, events = served()
    as_served = inverse_propensity(impressions, events, always(0, 1, 2))
    assert as_served.effective_places == pytest.approx(K * TIMES / 2, rel=0.1)
    rare = inverse_propensity(impressions, events, always(9, 10, 11))
    assert rare.effective_places < as_served.effective_places / 3
    assert rare.standard_error > as_served.standard_error


def one(user_id: str, at_us: int, *item_ids: str) -> Impression:
    return Impression("r", "1", user_id, at_us, item_ids, [1.0] * len(item_ids), 0.1)


def test_a_take_up_is_credited_to_the_last_impression_before_it() -> None:
    impressions = [one("u", DAY_US // 2, "a"), one("u", 0, "a", "b"), one("v", 0, "a", "b")]
    everything = Fixed({"a": 1.0, "b": 1.0})

    def worth(*events: Fed, horizon_days: float = 1.0) -> float:
        return inverse_propensity(impressions, events, everything, horizon_days).value

    once = 1 / 5
    assert worth(Fed("u", "a", 0)) == worth(Fed("u", "a", DAY_US)) == pytest.approx(once)
    assert worth(Fed("u", "a", DAY_US), Fed("u", "a", DAY_US + 1)) == pytest.approx(once)
    assert worth(Fed("u", "a", DAY_US), Fed("u", "a", 5)) == pytest.approx(2 * once)
    assert worth(Fed("u", "b", DAY_US)) == pytest.approx(once)
    assert worth(Fed("u", "b", DAY_US), horizon_days=0.5) == 0  # too late
    assert worth(Fed("u", "a", -1), Fed("w", "a", 5), Fed("u", "c", 5)) == 0
    assert worth(Fed("u", "a", DAY_US, is_positive=False)) == 0


def test_nothing_to_go_by_is_an_error() -> None:
    with pytest.raises(ValueError, match="no impressions"):
        inverse_propensity([], [], always(0))
    with pytest.raises(ValueError, match="none of the items of 1 impressions"):
        inverse_propensity([one("u", 0, "7")], [], always(0))
