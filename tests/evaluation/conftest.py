"""Small event logs, random but seeded, for the tests of evaluation."""

from collections.abc import Callable

import numpy as np
import pytest

from training.events import Events

DAY_US = 86_400_000_000


def random_events(
    seed: int = 0, users: int = 12, items: int = 15, events: int = 240, days: int = 60
) -> Events:
    """Events at whole days, so that instants collide; some dislikes, some items late to appear."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(users, size=events), rng.integers(items, size=events)
    at_us = np.sort(rng.integers(days, size=events)) * DAY_US
    first_us = np.full(items, days * DAY_US)
    np.minimum.at(first_us, item, at_us)
    return Events(
        user_ids=np.array([f"u{n:03d}" for n in range(users)], dtype=object),
        item_ids=np.array([f"i{n:03d}" for n in range(items)], dtype=object),
        available_at_us=np.where(rng.random(items) < 0.5, first_us, 0),
        user_index=user,
        item_index=item,
        at_us=at_us,
        is_positive=rng.random(events) < 0.8,
        train_end_us=int(days * 0.6) * DAY_US,
        validation_end_us=int(days * 0.8) * DAY_US,
    )


@pytest.fixture
def make_events() -> Callable[..., Events]:
    return random_events
