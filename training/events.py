"""The timed interactions of a data set as numpy columns in order of time.

In: the canonical tables of a data set folder. Out: `Events`, whose users and items are numbers:
places among the sorted ids. Interactions without a time are left out; they serve `random_split`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from feature_repo.pipelines.tables import EPOCH, DatasetInfo, table_path

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.object_]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Events:
    """Timed interactions [E] in order of time; those of one instant in a fixed order."""

    user_ids: Ids
    """Every user of the data set, sorted; `user_index` points into it."""
    item_ids: Ids
    """Every item of the data set, sorted; `item_index` points into it."""
    available_at_us: Ints
    """For each item the instant, in microseconds since 1970, from which it can be taken up."""
    user_index: Ints
    item_index: Ints
    at_us: Ints
    is_positive: npt.NDArray[np.bool_]
    """A take-up: the user chose the item and did not dislike it."""
    train_end_us: int
    validation_end_us: int
    actions: tuple[str, ...] = ()
    """Names of what users do with items, sorted; `action_index` points into it."""
    action_index: npt.NDArray[np.int16] | None = None
    """[E]; None where actions are of no interest."""
    values: npt.NDArray[np.float32] | None = None
    """[E], a rating or a count, NaN where the action has none."""

    @cached_property
    def _take_ups(self) -> Ints:
        return np.flatnonzero(self.is_positive)

    def take_ups(self) -> Ints:
        """Places of the take-ups among the events, in order of time."""
        return self._take_ups

    def window(self, split: SplitName) -> tuple[int, int]:
        """The split's period [start, end) in microseconds; open ends are the int64 extremes."""
        extremes = np.iinfo(np.int64)
        ends = (int(extremes.min), self.train_end_us, self.validation_end_us, int(extremes.max))
        number = ("train", "validation", "test").index(split)
        return ends[number], ends[number + 1]

    def training_items(self) -> Ids:
        """Ids of the items with a take-up in the training period, sorted: the item vocabulary."""
        return self.item_ids[np.unique(self.item_index[self.training_take_ups()])]

    def training_take_ups(self) -> Ints:
        """Places of the training period's take-ups among the events, in order of time."""
        taken = self.take_ups()
        return taken[self.at_us[taken] < self.train_end_us]

    def training_histories(self) -> tuple[Ints, Ints]:
        """User and item of the training period's take-ups, a user's together in order of time."""
        taken = self.training_take_ups()
        taken = taken[np.argsort(self.user_index[taken], kind="stable")]
        return self.user_index[taken], self.item_index[taken]


def read_events(data_dir: Path) -> Events:
    """Read the timed interactions of a data set.

    ValueError for a missing `dataset.json` or table, and for an interaction whose user or item is
    in no table, which a build never leaves behind.
    """
    info = DatasetInfo.read(data_dir)
    with duckdb.connect() as connection:
        number_ids(connection, data_dir)
        users = connection.execute("SELECT user_id FROM users ORDER BY number").fetchnumpy()
        items = connection.execute(
            "SELECT item_id, epoch_us(available_at) AS us FROM items ORDER BY number"
        ).fetchnumpy()
        rows = read_interactions(
            connection, data_dir, "epoch_us(timestamp) AS us, is_positive, action, value", "timed"
        )
    action_index, actions = pd.factorize(rows["action"], sort=True)
    return Events(
        user_ids=np.asarray(users["user_id"], object),
        item_ids=np.asarray(items["item_id"], object),
        available_at_us=np.asarray(items["us"], np.int64),
        user_index=np.asarray(rows["user"], np.int64),
        item_index=np.asarray(rows["item"], np.int64),
        at_us=np.asarray(rows["us"], np.int64),
        is_positive=np.asarray(rows["is_positive"], np.bool_),
        train_end_us=microseconds(info.train_end_at),
        validation_end_us=microseconds(info.validation_end_at),
        actions=tuple(actions.tolist()),
        action_index=action_index.astype(np.int16),
        values=rows["value"].astype(np.float32),
    )


def number_ids(connection: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    """Make tables `users` and `items` with each id's place among the sorted ids as `number`."""
    for table, key in (("users", "user_id"), ("items", "item_id")):
        connection.execute(
            f"CREATE TEMP TABLE {table} AS "
            f"SELECT *, row_number() OVER (ORDER BY {key}) - 1 AS number FROM read_parquet(?)",
            [existing_path(data_dir, table)],
        )


def read_interactions(
    connection: duckdb.DuckDBPyConnection, data_dir: Path, columns: str, condition: str
) -> dict[str, npt.NDArray[Any]]:
    """Columns of the interactions, with `user` and `item` numbers, in order of time."""
    fetched = connection.execute(
        f"SELECT users.number AS user, items.number AS item, {columns} FROM read_parquet(?) "
        "LEFT JOIN users USING (user_id) LEFT JOIN items USING (item_id) "
        f"WHERE {condition} ORDER BY timestamp, user, item, event_id",
        [existing_path(data_dir, "interactions")],
    ).fetchnumpy()
    rows: dict[str, npt.NDArray[Any]] = {name: np.ma.asarray(fetched[name]) for name in fetched}
    # DuckDB hands over a column with nulls as a masked array.
    orphans = np.ma.getmaskarray(rows["user"]) | np.ma.getmaskarray(rows["item"])
    if orphans.any():
        raise ValueError(
            f"{orphans.sum()} interactions in {data_dir} have a user or item that is in no table; "
            "build the data set again: `python -m feature_repo.pipelines.build`"
        )
    return {
        name: np.ma.filled(values, np.nan) if values.dtype.kind == "f" else np.asarray(values)
        for name, values in rows.items()
    }


def existing_path(data_dir: Path, table: str) -> str:
    """The path of a canonical table; ValueError names the command that makes it."""
    path = table_path(data_dir, table)
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; build the data set with "
            f"`python -m feature_repo.pipelines.build --dataset NAME --out {data_dir}`"
        )
    return str(path)


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970, without the rounding that a float timestamp brings."""
    return (instant - EPOCH) // timedelta(microseconds=1)
