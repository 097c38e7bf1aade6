"""The people of the synthetic world: when they join, how active they are, their tastes and friends.

In: the world's settings. Out: one array a property, users as row numbers, friends as a compressed
sparse list. Everything is drawn in a few vectorised steps, about 150 bytes a user.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Shapes: N users, K tastes a user, L links

DAY_US = 86_400_000_000
NUM_TASTES = 5
TASTE_SHARES = np.array([0.46, 0.24, 0.15, 0.10, 0.05])
"""How strongly a user holds the first, second, ... taste, before personal variation."""
NUM_PARTNERS = 3
"""Sub-themes that tend to be liked together, so that one taste tells something about the next."""


@dataclass(frozen=True)
class People:
    """Users as row numbers. `targets[offsets[u]:offsets[u + 1]]` are the users whom u looks at."""

    joined_us_N: npt.NDArray[np.int64]
    rate_N: npt.NDArray[np.float64]
    tastes_NK: npt.NDArray[np.int16]
    shares_NK: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    targets_L: npt.NDArray[np.int32]
    since_us_L: npt.NDArray[np.int64]
    follow_L: npt.NDArray[np.bool_]

    @property
    def num(self) -> int:
        return len(self.joined_us_N)


def draw_people(
    num: int, num_sub_themes: int, start_us: int, end_us: int, rng: np.random.Generator
) -> People:
    """Draw `num` users: just over half are there from the first day, the others join later."""
    newcomers = rng.random(num) < 0.45
    before = start_us - rng.integers(DAY_US, 365 * DAY_US, num)
    during = rng.integers(start_us, end_us - DAY_US, num)
    joined_us_N = _whole_seconds(np.where(newcomers, during, before))
    tastes_NK, shares_NK = _draw_tastes(num, num_sub_themes, rng)
    offsets, targets, since, follow = _draw_links(tastes_NK[:, 0], joined_us_N, end_us, rng)
    return People(
        joined_us_N=joined_us_N,
        rate_N=rng.lognormal(0.0, 1.0, num),  # a few users make most of the events, as everywhere
        tastes_NK=tastes_NK,
        shares_NK=shares_NK,
        offsets=offsets,
        targets_L=targets,
        since_us_L=since,
        follow_L=follow,
    )


def _whole_seconds(instants_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return instants_us // 1_000_000 * 1_000_000


def _draw_tastes(
    num: int, num_sub_themes: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32]]:
    """The first taste is free; each further one is, half of the time, a partner of the first."""
    popularity = rng.dirichlet(np.full(num_sub_themes, 4.0))
    partners = rng.integers(0, num_sub_themes, (num_sub_themes, NUM_PARTNERS))
    first = rng.choice(num_sub_themes, num, p=popularity)
    partner = partners[first[:, None], rng.integers(0, NUM_PARTNERS, (num, NUM_TASTES - 1))]
    other = rng.integers(0, num_sub_themes, (num, NUM_TASTES - 1))
    further = np.where(rng.random((num, NUM_TASTES - 1)) < 0.5, partner, other)
    shares = TASTE_SHARES * rng.lognormal(0.0, 0.3, (num, NUM_TASTES))
    shares /= shares.sum(axis=1, keepdims=True)
    tastes = np.concatenate([first[:, None], further], axis=1)
    return tastes.astype(np.int16), shares.astype(np.float32)


def _draw_links(
    first_taste: npt.NDArray[np.int16],
    joined_us: npt.NDArray[np.int64],
    end_us: int,
    rng: np.random.Generator,
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.bool_]
]:
    """Friends (both ways) and follows (one way), seven in ten among people of one first taste."""
    num = len(joined_us)
    a = np.repeat(np.arange(num), np.minimum(rng.geometric(0.18, num) - 1, 60))
    b = np.where(
        rng.random(len(a)) < 0.7,
        _same_taste(first_taste, a, rng),
        rng.integers(0, num, len(a)),
    )
    a, b = _distinct_pairs(a, b, num)
    soon = rng.random(len(a)) < 0.7  # most are invited by, or look up, people whom they know
    delay_days = rng.exponential(np.where(soon, 0.2, 40.0))
    since = np.maximum(joined_us[a], joined_us[b]) + (delay_days * DAY_US).astype(np.int64)
    since = _whole_seconds(since)
    follow = rng.random(len(a)) < 0.15
    made = since < end_us
    a, b, since, follow = a[made], b[made], since[made], follow[made]
    source = np.concatenate([a, b[~follow]])
    target = np.concatenate([b, a[~follow]]).astype(np.int32)
    since, follow = (
        np.concatenate([since, since[~follow]]),
        np.concatenate([follow, follow[~follow]]),
    )
    order = np.lexsort((target, source))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=num))])
    return offsets.astype(np.int64), target[order], since[order], follow[order]


def _same_taste(
    first_taste: npt.NDArray[np.int16], a: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """For each user in `a`, some user of the same first taste (perhaps the same user)."""
    by_taste = np.argsort(first_taste, kind="stable")
    counts = np.bincount(first_taste)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    group = first_taste[a]
    return np.asarray(
        by_taste[starts[group] + (rng.random(len(a)) * counts[group]).astype(np.int64)]
    )


def _distinct_pairs(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], num: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs without those of one person and without second copies, in whichever direction."""
    keys = np.minimum(a, b) * np.int64(num) + np.maximum(a, b)
    _, kept = np.unique(keys, return_index=True)
    kept = np.sort(kept[a[kept] != b[kept]])
    return a[kept], b[kept]
