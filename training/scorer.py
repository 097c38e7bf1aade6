"""FusedScorer: the fusion model as evaluation sees it, scoring every item for every query.

Users are read strictly before the query's instant. Items are read as of the start of the query's
UTC day, which is known before the query and is the snapshot that a server would hold.
"""

# Shapes: Q queries, B queries of a block, I items, N distinct days of a chunk

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from feast import FeatureStore

from training.encode import Encoder
from training.events import Events, Ints
from training.join import ViewRows, join_features
from training.model import FusionModel
from training.projector import US_PER_DAY, Columns, ViewBatch
from training.queries import Queries
from training.schema import FeatureSchema
from training.tokens import SideTokens

Scores = npt.NDArray[np.float32]
PAIRS_A_JOIN = 1_000_000  # (item, day) pairs; about 0.5 GB of entity frame
CELLS_AT_ONCE = 8_000_000  # floats of the largest intermediate, [b, I, D]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Feature rows of one view, encoded once each, and who sees which."""

    columns: Columns
    rows: Ints
    """[n] or [N, I], -1 for none."""


class QueryFeatures:
    """Features of queries and of the catalogue on their days, read once for several models."""

    def __init__(
        self, store: FeatureStore, schema: FeatureSchema, encoder: Encoder, events: Events
    ) -> None:
        self.store, self.schema, self.encoder, self.events = store, schema, encoder, events
        self._queries: Queries | None = None
        self._users: dict[str, Encoded] = {}
        self._days = np.empty(0, np.int64)
        self._items: dict[str, Encoded] = {}

    def users(self, queries: Queries, rows: Ints) -> dict[str, Encoded]:
        """The user views of these queries; all the queries are read at the first call."""
        if self._queries is not queries:
            ids = self.events.user_ids[queries.user_index]
            joined = join_features(self.store, self.schema, "user", ids, queries.at_us)
            self._users = {name: self.encode(name, view) for name, view in joined.items()}
            self._queries, self._days = queries, np.empty(0, np.int64)
        return {
            name: dataclasses.replace(view, rows=view.rows[rows])
            for name, view in self._users.items()
        }

    def items(self, day: int) -> dict[str, Encoded]:
        """The item views of the whole catalogue at the start of a day (days since 1970)."""
        if day not in self._days:
            self.read_days(day)
        place = int(np.flatnonzero(self._days == day)[0])
        return {
            name: dataclasses.replace(view, rows=view.rows[place])
            for name, view in self._items.items()
        }

    def read_days(self, day: int) -> None:
        """Read this day's catalogue and, in the same join, those of the following query days."""
        assert self._queries is not None, "users() is asked before items()"
        num_items = len(self.events.item_ids)
        days = np.unique(self._queries.at_us // US_PER_DAY)
        self._days = days[days >= day][: max(1, PAIRS_A_JOIN // max(num_items, 1))]
        ids = np.tile(self.events.item_ids, len(self._days))
        at_us = np.repeat(self._days * US_PER_DAY, num_items)
        joined = join_features(self.store, self.schema, "item", ids, at_us)
        self._items = {
            name: self.encode(name, ViewRows(view.features, view.rows), (-1, num_items))
            for name, view in joined.items()
        }

    def encode(self, name: str, view: ViewRows, shape: tuple[int, ...] = (-1,)) -> Encoded:
        """Encode the rows that somebody sees, each once."""
        used = np.unique(view.rows[view.rows >= 0])
        columns = self.encoder.encode(name, view.features.take(used))
        rows = np.where(view.rows >= 0, np.searchsorted(used, view.rows), -1)
        return Encoded(columns, rows.reshape(shape))


class FusedScorer:
    """Implements `Scorer` for full ranking."""

    has_own_scale = True
    """Logits are fused as they are: to standardise them a server would need every item's."""

    def __init__(self, name: str, model: FusionModel, features: QueryFeatures) -> None:
        """`features` may have views that the model lacks; it reads its own."""
        self.name, self.model, self.features = name, model.eval(), features
        numbers = features.encoder.item_numbers(features.events.item_ids)
        self.item_numbers = torch.from_numpy(numbers)
        self._day = -1
        self._catalogue: SideTokens | None = None

    @torch.inference_mode()
    def score(self, queries: Queries, rows: Ints) -> Scores:
        """Scores [B, I] of the queries with these numbers."""
        scores_BI = np.empty((len(rows), queries.num_items), np.float32)
        days = queries.at_us[rows] // US_PER_DAY
        size = max(1, CELLS_AT_ONCE // (queries.num_items * self.model.config.width))
        for day in np.unique(days):
            places = np.flatnonzero(days == day)
            for start in range(0, len(places), size):
                chosen = places[start : start + size]
                user = self.user_tokens(queries, rows[chosen])
                scores_BI[chosen] = self.model.score(user, self.catalogue(int(day))).numpy()
        return scores_BI

    def user_tokens(self, queries: Queries, rows: Ints) -> SideTokens:
        at_us = torch.from_numpy(queries.at_us[rows])
        views = self.features.users(queries, rows)
        return self.model.user_tokens({name: batch(view, at_us) for name, view in views.items()})

    def catalogue(self, day: int) -> SideTokens:
        """Every item's tokens at the start of a day; the last day asked for is kept."""
        if self._catalogue is None or day != self._day:
            at_us = torch.full((len(self.item_numbers),), day * US_PER_DAY, dtype=torch.int64)
            views = {n: batch(view, at_us) for n, view in self.features.items(day).items()}
            self._catalogue = self.model.item_tokens(views, self.item_numbers)
            self._day = day
        return self._catalogue


def batch(view: Encoded, at_us: torch.Tensor) -> ViewBatch:
    """The rows somebody sees, each once, as the model takes them."""
    used, place = np.unique(view.rows[view.rows >= 0], return_inverse=True)
    index = torch.from_numpy(used)
    rows = np.full(len(view.rows), -1, np.int64)
    rows[view.rows >= 0] = place
    columns = {name: column[index] for name, column in view.columns.items()}
    return ViewBatch(columns, torch.from_numpy(rows), at_us)
