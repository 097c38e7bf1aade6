"""Snapshot: everything the ranker holds about items, in columns, for fast lookups by position.

In: a bundle, and newer rows of its item views where there are any (serving/snapshot_files.py). Out:
item ids, titles and terms, encoded feature rows, neighbours, popularity, text vectors. Positions
(0 .. num_items - 1) stand for items in every array; ids come and go at the door. The bundle's items
come first, in its order, so that what its channels learnt of them stays in place.
"""

# Shapes: I items, N neighbours, E length of a text vector, C candidates

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from serving.catalogue import ByPosition, Catalogue
from serving.clock import microseconds
from serving.errors import UnknownItemError
from serving.evidence import ItemFacts
from serving.item_columns import counters, item_fields, unit_vectors
from serving.item_ids import ItemIds
from serving.item_rows import ItemRows, gathered
from serving.item_tokens import ItemTokens
from serving.popularity import Popularity
from serving.timing import stage
from training.bundle import Bundle
from training.channel_state import grown
from training.profiles import TrendingCounts
from training.projector import ViewBatch
from training.served import Served
from training.tokens import SideTokens

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

MAX_TERMS = 8


@dataclass
class Snapshot:
    """Item side of one replica. `popularity` changes after it is made, and rows that are pushed."""

    bundle: Bundle
    catalogue: Catalogue
    views: dict[str, ItemRows]
    """The bundle's item views."""
    available_at_us: Positions
    """[I]"""
    numbers: torch.Tensor
    """int64 [I]: the encoder's numbers of the items, 0 for items unknown in training."""
    vectors: npt.NDArray[np.float32] | None
    """[I, E] unit text vectors; None without a text source."""
    popularity: Popularity
    served: Served
    """The bundle's channels, with counters that go on with `popularity`."""
    version: str
    """Short id of the bundle and of the items' rows."""
    _item_tokens: ItemTokens = field(repr=False)
    _user_position: dict[str, int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.catalogue)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> "Snapshot":
        """Items as of the end of the bundle's data."""
        at_us = microseconds(bundle.as_of)
        views = {
            view.name: ItemRows.of(bundle.encoder, view, bundle.item_views[view.name], at_us)
            for view in bundle.schema.item_views
        }
        return cls.of(bundle, bundle.items, views, "bundle")

    @classmethod
    def of(
        cls, bundle: Bundle, items: pa.Table, views: dict[str, ItemRows], name: str
    ) -> "Snapshot":
        """`items` [I] are the bundle's in its order, then any others; `views` describe them."""
        schema, catalogue = bundle.schema, Catalogue(items)
        served = bundle.served.with_own_counts()
        if len(catalogue) > bundle.items.num_rows:
            larger = tuple(grown(channel, len(catalogue)) for channel in served.channels)
            served = dataclasses.replace(served, channels=larger)
        numbers = torch.from_numpy(bundle.encoder.item_numbers(list(catalogue.position)))
        return cls(
            bundle=bundle,
            catalogue=catalogue,
            views=views,
            available_at_us=catalogue.available_at_us(),
            numbers=numbers,
            vectors=unit_vectors(schema, views),
            popularity=dataclasses.replace(
                counters(schema, views),
                followers=[c for c in served.channels if isinstance(c, TrendingCounts)],
            ),
            served=served,
            version=f"{bundle.version}.{name}",
            _item_tokens=ItemTokens(bundle.model, views, numbers),
            _user_position={user: i for i, user in enumerate(bundle.seen.user_ids)},
        )

    @property
    def position(self) -> ItemIds:
        """Position by item id."""
        return self.catalogue.position

    @property
    def item_ids(self) -> ByPosition[str]:
        return self.catalogue.item_ids

    @property
    def titles(self) -> ByPosition[str]:
        return self.catalogue.titles

    @property
    def category(self) -> ByPosition[str | None]:
        return self.catalogue.category

    @property
    def categories(self) -> ByPosition[frozenset[str]]:
        return self.catalogue.categories

    @property
    def terms(self) -> ByPosition[tuple[str, ...]]:
        """Keywords and categories of each item, strongest first."""
        return ByPosition(len(self), lambda place: self.facts(np.array([place]))[0].terms)

    def place(self, item_id: str) -> int:
        """Position of an item. Raises UnknownItemError."""
        if item_id not in self.position:
            raise UnknownItemError(
                f"item {item_id!r} is not in the catalogue of this bundle ({len(self)} items)"
            )
        return self.position[item_id]

    def memberships(self, positions: Positions) -> npt.NDArray[np.float32]:
        """1 where an item [C] is of a category [G]: of all that these items have, by name."""
        return self.catalogue.memberships(positions)

    def in_categories(self, names: Iterable[str]) -> Mask:
        """Mask [I] of items with at least one of the categories."""
        return self.catalogue.in_categories(names)

    def seen_by(self, user_id: str) -> Positions:
        """Positions of all that the user met up to the end of the data."""
        row = self._user_position.get(user_id)
        return self.bundle.seen.items_of(row) if row is not None else np.empty(0, np.int64)

    def number_of(self, user_id: str) -> int:
        """The user's place among the bundle's users; -1 for one that it lacks."""
        return self._user_position.get(user_id, -1)

    def taken_by(self, user_id: str) -> Positions:
        """Positions of all that the user took up to the end of the data, oldest first."""
        row = self.number_of(user_id)
        return self.bundle.taken.row(row) if row >= 0 else np.empty(0, np.int64)

    def neighbours(self, positions: Positions) -> tuple[Positions, npt.NDArray[np.float32]]:
        """Positions and similarities of the items most similar to these by co-occurrence, those of
        one item after those of another, best first."""
        table = self.bundle.neighbours
        known = positions[positions < len(table.ids)]
        ids, scores = table.ids.take(known, axis=0), table.scores.take(known, axis=0)
        there = ids >= 0
        return ids[there], scores[there]

    def facts(self, positions: Positions, ranks: Sequence[int] | None = None) -> list[ItemFacts]:
        """What may be said of items [C], given their popularity ranks (-1 for none)."""
        index = pa.array(positions)  # once for all columns
        keywords: list[list[str]] = [[] for _ in positions]
        for view, field_name in self._keywords:
            keywords = self.views[view].entries(field_name, index)
        return [
            ItemFacts(
                item_id,
                title,
                tuple(dict.fromkeys((*words, *categories)))[:MAX_TERMS],
                categories,
                rank if rank >= 0 else None,
            )
            for item_id, title, words, categories, rank in zip(
                self.catalogue.texts("item_id", index),
                self.catalogue.texts("title", index),
                keywords,
                self.catalogue.listed_categories(index),
                [-1] * len(positions) if ranks is None else ranks,
                strict=True,
            )
        ]

    def named(self, positions: Positions) -> list[ItemFacts]:
        """Items [C] by id and title alone."""
        index = pa.array(positions)
        names = (self.catalogue.texts(column, index) for column in ("item_id", "title"))
        return list(map(ItemFacts, *names))

    @cached_property
    def _keywords(self) -> list[tuple[str, str]]:
        """View and field of the items' keywords; none or one."""
        found = item_fields(self.bundle.schema, "sequence", "keyword")[:1]
        return [(view.name, spec.name) for view, spec in found]

    def entries(self, view: str, field: str, position: int) -> list[str]:
        """The entries of a list that an item view holds, as the feature store has them."""
        return self.views[view].entries(field, np.array([position]))[0]

    def fill_tokens(self) -> None:
        """Make the tokens that requests would wait for: seconds for a million items."""
        self._item_tokens.fill(self.popularity)

    @stage("item_encode")
    @torch.inference_mode()
    def tokens(self, positions: Positions, at_us: int) -> SideTokens:
        """The model's tokens of C items at an instant."""
        return self._item_tokens.of(positions, at_us)

    def batches(self, positions: Positions, at_us: int) -> dict[str, ViewBatch]:
        """By view, the encoded rows of C items."""
        return gathered(self.views, positions, at_us)


if __name__ == "__main__":
    from serving.taking import main

    sys.exit(main())
