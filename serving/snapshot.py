"""Snapshot: everything the ranker holds about items, in columns, for fast lookups by position.

In: a bundle. Out: item ids, titles and terms, encoded feature rows, neighbours, popularity, text
vectors. Positions (0 .. num_items - 1) stand for items in every array; ids come and go at the door.
"""

# Shapes: I items, N neighbours, E length of a text vector, C candidates

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from serving.errors import UnknownItemError
from serving.evidence import ItemFacts
from serving.popularity import Popularity, decayed_counters
from training.bundle import Bundle
from training.encode import Columns
from training.profiles import TrendingCounts
from training.projector import ViewBatch
from training.schema import FeatureSchema, FieldSpec, ViewSpec
from training.served import Served
from training.tokens import SideTokens

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

MAX_TERMS = 8


@dataclass
class Snapshot:
    """Item side of one replica. Only `popularity` changes after it is made."""

    bundle: Bundle
    item_ids: list[str]
    titles: list[str]
    category: list[str | None]
    terms: list[tuple[str, ...]]
    """Keywords and categories of each item, strongest first."""
    categories: list[frozenset[str]]
    available_at_us: Positions
    """[I]"""
    numbers: torch.Tensor
    """int64 [I]: the encoder's numbers of the items, 0 for items unknown in training."""
    columns: dict[str, Columns]
    """By item view: encoded rows, row i describes item i."""
    present: dict[str, torch.Tensor]
    """By item view: bool [I], whether the view has a row for the item."""
    vectors: npt.NDArray[np.float32] | None
    """[I, E] unit text vectors; None without a text source."""
    popularity: Popularity
    served: Served
    """The bundle's channels, with counters that go on with `popularity`."""
    version: str
    """Short id of the bundle and of the items' rows."""
    position: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.position = {item_id: i for i, item_id in enumerate(self.item_ids)}
        self._user_position = {user: i for i, user in enumerate(self.bundle.seen.user_ids)}

    def __len__(self) -> int:
        return len(self.item_ids)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> "Snapshot":
        schema = bundle.encoder.feature_schema
        item_ids = bundle.items.column("item_id").to_pylist()
        columns, present = {}, {}
        for view in schema.item_views:
            rows = bundle.item_views[view.name]
            columns[view.name] = bundle.encoder.encode(view.name, rows.features)
            present[view.name] = torch.from_numpy(rows.rows >= 0)
            columns[view.name] = _expanded(columns[view.name], rows.rows)
        served = bundle.served.with_own_counts()
        keywords = _string_lists(bundle, schema, "keyword")
        categories = [tuple(row or ()) for row in bundle.items.column("categories").to_pylist()]
        return cls(
            bundle=bundle,
            item_ids=item_ids,
            titles=bundle.items.column("title").to_pylist(),
            category=bundle.items.column("category").to_pylist(),
            terms=[
                tuple(dict.fromkeys((*own, *given)))[:MAX_TERMS]
                for own, given in zip(keywords, categories, strict=True)
            ],
            categories=[frozenset(row) for row in categories],
            available_at_us=bundle.items.column("available_at_us").to_numpy().astype(np.int64),
            numbers=torch.from_numpy(bundle.encoder.item_numbers(item_ids)),
            columns=columns,
            present=present,
            vectors=_unit_vectors(schema, columns, present),
            popularity=dataclasses.replace(
                decayed_counters(schema, columns, present, len(item_ids)),
                followers=[c for c in served.channels if isinstance(c, TrendingCounts)],
            ),
            served=served,
            version=f"{bundle.version}.bundle",
        )

    def place(self, item_id: str) -> int:
        """Position of an item. Raises UnknownItemError."""
        if item_id not in self.position:
            raise UnknownItemError(
                f"item {item_id!r} is not in the catalogue of this bundle ({len(self)} items)"
            )
        return self.position[item_id]

    def available(self, at_us: int) -> Mask:
        """Items that existed at the instant."""
        return self.available_at_us <= at_us

    def mask_of(self, item_ids: Iterable[str]) -> Mask:
        """Mask [I] of the named items; names that the catalogue lacks are passed over."""
        mask = np.zeros(len(self), dtype=bool)
        mask[[self.position[item] for item in item_ids if item in self.position]] = True
        return mask

    def in_categories(self, names: Iterable[str]) -> Mask:
        """Mask [I] of items with at least one of the categories."""
        wanted = frozenset(names)
        return np.fromiter((bool(own & wanted) for own in self.categories), bool, len(self))

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

    def neighbours(self, position: int) -> tuple[Positions, npt.NDArray[np.float32]]:
        """Positions and similarities of the most similar items by co-occurrence, best first."""
        ids = self.bundle.neighbours.ids[position]
        there = ids >= 0
        return ids[there], self.bundle.neighbours.scores[position][there]

    def ranks(self, at_us: int) -> Positions:
        """Popularity rank [I] at an instant, 0 for the most popular; -1 for zero."""
        values = self.popularity.at(at_us)
        order = np.argsort(-values, kind="stable")
        ranks = np.empty(len(self), np.int64)
        ranks[order] = np.arange(len(self))
        return np.where(values > 0, ranks, -1)

    def top_ranks(self, at_us: int, num: int) -> dict[int, int]:
        """Rank by position of the `num` most popular items, without sorting the catalogue."""
        values = self.popularity.at(at_us)
        least = np.partition(values, -num)[-num] if len(values) > num else 0.0
        top = np.flatnonzero((values >= least) & (values > 0))
        order = top[np.argsort(-values[top], kind="stable")][:num]
        return {position: rank for rank, position in enumerate(order.tolist())}

    def facts(self, position: int, rank: int) -> ItemFacts:
        """What may be said of an item, given its popularity rank (-1 for none)."""
        return ItemFacts(
            item_id=self.item_ids[position],
            title=self.titles[position],
            terms=self.terms[position],
            categories=self.categories[position],
            popularity_rank=rank if rank >= 0 else None,
        )

    def entries(self, view: str, field: str, position: int) -> list[str]:
        """The entries of a list that an item view holds, as the registry's data has them."""
        rows = self.bundle.item_views[view]
        row = int(rows.rows[position])
        entries = rows.features.column(field)[row].as_py() if row >= 0 else None
        return [str(entry) for entry in entries or ()]

    @torch.inference_mode()
    def tokens(self, positions: Positions, at_us: int) -> SideTokens:
        """The model's tokens of C items at an instant."""
        numbers = self.numbers[torch.from_numpy(positions)]
        return self.bundle.model.item_tokens(self.batches(positions, at_us), numbers)

    def batches(self, positions: Positions, at_us: int) -> dict[str, ViewBatch]:
        """By view, the encoded rows of C items."""
        index = torch.from_numpy(positions)
        at = torch.full((len(positions),), at_us, dtype=torch.int64)
        return {
            view: ViewBatch.gathered(
                {name: column[index] for name, column in columns.items()},
                self.present[view][index],
                at,
            )
            for view, columns in self.columns.items()
        }


def _expanded(columns: Columns, rows: npt.NDArray[np.integer]) -> Columns:
    """Encoded rows in the order of the items; where an item has no row, row 0 (to be masked)."""
    if not len(next(iter(columns.values()))):
        return {n: c.new_zeros((len(rows), *c.shape[1:])) for n, c in columns.items()}
    index = torch.from_numpy(np.maximum(rows, 0))
    return {name: column[index] for name, column in columns.items()}


def _fields(
    schema: FeatureSchema, kind: str, vocabulary: str | None = None
) -> list[tuple[ViewSpec, FieldSpec]]:
    return [
        (view, spec)
        for view in schema.item_views
        for spec in view.fields
        if spec.kind == kind and (vocabulary is None or spec.vocabulary == vocabulary)
    ]


def embeddings(schema: FeatureSchema) -> list[tuple[ViewSpec, FieldSpec]]:
    """Item-side embeddings, those first that a user's own are compared with: of one source."""
    own = {view.source for view in schema.user_views if view.of_kind("embedding")}
    return sorted(_fields(schema, "embedding"), key=lambda found: found[0].source not in own)


def _string_lists(bundle: Bundle, schema: FeatureSchema, vocabulary: str) -> list[tuple[str, ...]]:
    """The first item-side sequence of a vocabulary, as strings by item."""
    for view, spec in _fields(schema, "sequence", vocabulary):
        rows = bundle.item_views[view.name]
        values = rows.features.column(spec.name).to_pylist()
        return [tuple(values[row] or ()) if row >= 0 else () for row in rows.rows]
    return [()] * bundle.items.num_rows


def _unit_vectors(
    schema: FeatureSchema, columns: dict[str, Columns], present: dict[str, torch.Tensor]
) -> npt.NDArray[np.float32] | None:
    """The first of `embeddings`, each row of length one; zeros where an item has none."""
    for view, spec in embeddings(schema):
        vectors = columns[view.name][f"embedding:{spec.name}"] * present[view.name][:, None]
        return torch.nn.functional.normalize(vectors, dim=1).numpy()
    return None
