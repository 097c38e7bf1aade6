"""Logs in which what comes next follows a rule that popularity does not know."""

import numpy as np
from numpy.typing import NDArray

from training.baselines import DAY_US
from training.events import Events

TRAIN_DAYS, VALIDATION_DAYS, DAYS = 8, 10, 12


def log_of(item_UT: NDArray[np.int64], num_items: int) -> Events:
    """Every user takes up one item a day; the last days are validation and test."""
    num_users, days = item_UT.shape
    order = np.argsort(np.tile(np.arange(days), num_users), kind="stable")
    return Events(
        user_ids=np.array([f"u{n:03d}" for n in range(num_users)], dtype=object),
        item_ids=np.array([f"i{n:03d}" for n in range(num_items)], dtype=object),
        available_at_us=np.full(num_items, -1),
        user_index=np.repeat(np.arange(num_users), days)[order],
        item_index=item_UT.ravel()[order],
        at_us=np.tile(np.arange(days), num_users)[order] * DAY_US,
        is_positive=np.ones(num_users * days, dtype=bool),
        train_end_us=TRAIN_DAYS * DAY_US,
        validation_end_us=VALIDATION_DAYS * DAY_US,
    )


def two_camps(num_users: int = 60, num_items: int = 40) -> Events:
    """Even users take up even items and odd users odd ones, in any order."""
    rng = np.random.default_rng(0)
    own = [2 * rng.permutation(num_items // 2)[:DAYS] + user % 2 for user in range(num_users)]
    return log_of(np.stack(own), num_items)


def chain(num_users: int = 60, num_items: int = 40) -> Events:
    """From any item on, everybody goes on to the next by number, round and round."""
    first_U = np.random.default_rng(0).integers(num_items, size=num_users)
    return log_of((first_U[:, None] + np.arange(DAYS)) % num_items, num_items)
