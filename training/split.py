"""The random split of published protocols: 8:1:1 of each user's items, without regard to time.

In: the canonical tables. Out: (user, item) pairs, each in one part. The default everywhere else is
the global time split (`Events.window`); this one is for comparison with figures that were published
under it, and only by explicit choice. It uses interactions without a time as well, so features
cannot be joined to its pairs: there is no instant to join at.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from training.events import Ids, Ints, SplitName, number_ids, read_interactions


@dataclass(frozen=True)
class RandomSplit:
    """Each user's distinct taken-up items, in three parts."""

    user_ids: Ids
    item_ids: Ids
    user_index: Ints
    item_index: Ints
    part: Ints
    """0 train, 1 validation, 2 test, for each pair."""

    def pairs(self, split: SplitName) -> tuple[Ints, Ints]:
        """User and item numbers of one part, by user and then item."""
        chosen = self.part == ("train", "validation", "test").index(split)
        return self.user_index[chosen], self.item_index[chosen]


def random_split(data_dir: Path, seed: int, action: str | None = None) -> RandomSplit:
    """Split each user's distinct take-ups 8:1:1 at random; the same seed gives the same parts.

    `action` keeps only interactions of one kind ("play" for the published Last.fm figures).
    """
    with duckdb.connect() as connection:
        number_ids(connection, data_dir)
        users = connection.execute("SELECT user_id FROM users ORDER BY number").fetchnumpy()
        items = connection.execute("SELECT item_id FROM items ORDER BY number").fetchnumpy()
        rows = read_interactions(connection, data_dir, "action", "is_positive")
    pairs = np.stack([rows["user"], rows["item"]], axis=1).astype(np.int64)
    pairs = np.unique(pairs[rows["action"] == action] if action else pairs, axis=0)
    if not len(pairs):
        raise ValueError(
            f"{data_dir} has no take-up" + (f" of action '{action}'" if action else "")
        )
    return RandomSplit(
        user_ids=np.asarray(users["user_id"], object),
        item_ids=np.asarray(items["item_id"], object),
        user_index=pairs[:, 0],
        item_index=pairs[:, 1],
        part=split_each_user(pairs[:, 0], seed),
    )


def split_each_user(user_index: Ints, seed: int) -> Ints:
    """Part of each row [n]: a tenth of a user's rows to test, a tenth to validation, rounded down.

    Users with too few rows for a tenth give one row to test from two rows on, and one to validation
    from three on, as RecBole does.

    >>> np.bincount(split_each_user(np.zeros(25, np.int64), seed=0)).tolist()
    [21, 2, 2]
    >>> np.bincount(split_each_user(np.zeros(3, np.int64), seed=0)).tolist()
    [1, 1, 1]
    """
    shuffled = np.random.default_rng(seed).permutation(len(user_index))
    order = shuffled[np.argsort(user_index[shuffled], kind="stable")]
    _, start, count = np.unique(user_index[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, count)
    num_test = np.where(count >= 10, count // 10, count >= 2)
    num_validation = np.where(count >= 10, count // 10, count >= 3)
    part = np.where(place < np.repeat(num_test, count), 2, 0)
    is_validation = (part == 0) & (place < np.repeat(num_test + num_validation, count))
    part[is_validation] = 1
    unshuffled = np.empty(len(order), np.int64)
    unshuffled[order] = part
    return unshuffled
