"""Users: one read of the online store becomes what channels and the model need.

In: a user id and the request's context. Out: a `User`. A user that the store does not know has no
source present, which the model was trained to cope with; session items stand in for a history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from feast import FeatureStore

from serving.api import Context
from serving.timing import stage
from training.encode import Encoder
from training.model import FusionModel
from training.plain_rows import Row
from training.projector import ViewBatch
from training.row_encoder import RowEncoder
from training.schema import FeatureSchema, FieldSpec, ViewSpec
from training.tokens import SideTokens

ITEM_VOCABULARY = "item"
HISTORY_SOURCE = "behaviour"


@dataclass(frozen=True)
class User:
    """What is known of a user at the instant of the request."""

    user_id: str
    known: bool
    """Whether the feature store has anything."""
    tokens: SideTokens
    """[1, S, D]"""
    batches: dict[str, ViewBatch]
    """By view: the encoded row that the tokens are made of; what-if questions change copies."""
    missing_sources: tuple[str, ...]
    history: tuple[str, ...]
    """Item ids, newest first, session items before stored ones."""
    actions: tuple[str, ...]
    """Aligned with `history`."""
    taken_at_us: tuple[int | None, ...]
    """Aligned with `history`; None for this session's items and where the store lacks instants."""
    others: dict[str, dict[str, int]]
    """By source (friends, say): item id -> how many of those people took it up."""
    rows: dict[str, Row]
    """Raw feature values by view; only views that the store has a row in."""
    rejected: tuple[str, ...] = field(default=())
    """Item ids the user gave negative feedback on."""


class UserReader:
    """Reads users from Feast's online store: one call for all views."""

    def __init__(self, store: FeatureStore, encoder: Encoder, model: FusionModel) -> None:
        self._store, self._encoder, self._model = store, encoder, model
        self._views = encoder.feature_schema.user_views
        self._row_encoder = RowEncoder(encoder)
        self._own_row, self._no_row = torch.tensor([0]), torch.tensor([-1])
        registered = {view.name: view for view in store.list_batch_feature_views()}
        # Fields the model ignores too: they hold what explanations are made of.
        self._features = {
            view.name: [f.name for f in registered[view.name].features] for view in self._views
        }
        self._wanted = [
            f"{view}:{name}" for view, names in self._features.items() for name in names
        ]

    def rows(self, user_id: str) -> dict[str, Row]:
        """Feature values by view, without views that have none for this user."""
        if not self._wanted:
            return {}
        keys = {view.join_key: user_id for view in self._views}
        answer = self._store.get_online_features(
            features=self._wanted, entity_rows=[keys], full_feature_names=True
        ).to_dict()
        rows = {
            view: {name: answer[f"{view}__{name}"][0] for name in names}
            for view, names in self._features.items()
        }
        return {view: row for view, row in rows.items() if any(v is not None for v in row.values())}

    def read(
        self,
        user_id: str,
        context: Context,
        at_us: int,
        rejected: Sequence[str] = (),
        rows: dict[str, Row] | None = None,
    ) -> User:
        """The user at an instant, from `rows` where they were read already. An unknown user is no
        error."""
        rows = self.rows(user_id) if rows is None else rows
        known = bool(rows)
        rows = with_session(self._encoder.feature_schema, rows, context.session_items)
        history, actions = history_of(self._encoder.feature_schema, rows)
        batches = self._batches(rows, at_us)
        with torch.inference_mode():
            tokens = self._model.user_tokens(batches)
        present = tokens.present[0].tolist()
        sources = self._model.sources
        spoken = {view.source for view in self._views}
        return User(
            user_id=user_id,
            known=known,
            tokens=tokens,
            batches=batches,
            missing_sources=tuple(
                s for s, there in zip(sources, present, strict=True) if s in spoken and not there
            ),
            history=history,
            actions=actions,
            taken_at_us=instants_of(self._encoder.feature_schema, rows),
            others=others_of(self._encoder.feature_schema, rows),
            rows=rows,
            rejected=tuple(rejected),
        )

    @stage("user_encode")
    def _batches(self, rows: dict[str, Row], at_us: int) -> dict[str, ViewBatch]:
        at = torch.tensor([at_us])
        return {
            view.name: ViewBatch(
                self._row_encoder.encode(view.name, rows.get(view.name, {})),
                self._own_row if view.name in rows else self._no_row,
                at,
            )
            for view in self._views
        }


def item_sequences(schema: FeatureSchema) -> list[tuple[ViewSpec, FieldSpec]]:
    """User-side lists of items: the user's own history, what friends took up, ..."""
    return [
        (view, spec)
        for view in schema.user_views
        for spec in view.of_kind("sequence")
        if spec.vocabulary == ITEM_VOCABULARY
    ]


def history_field(schema: FeatureSchema) -> tuple[ViewSpec, FieldSpec] | None:
    """The user's own history: the first list of items of the source `behaviour`."""
    own = (pair for pair in item_sequences(schema) if pair[0].source == HISTORY_SOURCE)
    return next(own, None)


def aligned(row: Row, spec: FieldSpec, suffix: str) -> list[object]:
    """Values of the field that goes with a list: `recent_items` has `recent_actions`."""
    values = row.get(spec.name.removesuffix("_items") + suffix)
    return list(values) if isinstance(values, list | tuple) else []


def history_of(schema: FeatureSchema, rows: dict[str, Row]) -> tuple[tuple[str, ...], ...]:
    """(item ids, actions), newest first; an action that the store lacks is empty."""
    found = history_field(schema)
    if found is None or found[0].name not in rows:
        return (), ()
    view, spec = found
    items = rows[view.name].get(spec.name)
    names = [str(item) for item in items] if isinstance(items, list | tuple) else []
    actions = [str(a) for a in aligned(rows[view.name], spec, "_actions")]
    actions += [""] * (len(names) - len(actions))
    return tuple(names), tuple(actions[: len(names)])


def instants_of(schema: FeatureSchema, rows: dict[str, Row]) -> tuple[int | None, ...]:
    """When each item of the history was taken up, None where that is not known."""
    found = history_field(schema)
    if found is None or found[0].name not in rows:
        return ()
    items = history_of(schema, rows)[0]
    known = [
        None if at is None else int(str(at))
        for at in aligned(rows[found[0].name], found[1], "_at_us")
    ]
    return tuple([*known, *[None] * len(items)][: len(items)])


def others_of(schema: FeatureSchema, rows: dict[str, Row]) -> dict[str, dict[str, int]]:
    """By source other than the user's own: item id -> number of people, 1 where it is not kept."""
    found: dict[str, dict[str, int]] = {}
    for view, spec in item_sequences(schema):
        row = rows.get(view.name, {})
        items = row.get(spec.name)
        if view.source == HISTORY_SOURCE or not isinstance(items, list | tuple):
            continue
        counts = aligned(row, spec, "_counts") or [1] * len(items)
        pairs = zip(items, counts, strict=False)
        found[view.source] = {str(item): int(str(count)) for item, count in pairs}
    return found


def with_session(
    schema: FeatureSchema, rows: dict[str, Row], session_items: Sequence[str]
) -> dict[str, Row]:
    """The rows with this session's items at the front of the history."""
    found = history_field(schema)
    if not session_items or found is None:
        return rows
    view, spec = found
    row = dict(rows.get(view.name, {}))
    stored, actions = history_of(schema, rows)
    entries = zip(stored, actions, instants_of(schema, rows), strict=True)
    kept = [entry for entry in entries if entry[0] not in session_items]
    row[spec.name] = [*session_items, *(item for item, _, _ in kept)]
    prefix = spec.name.removesuffix("_items")
    row[f"{prefix}_actions"] = [*("click" for _ in session_items), *(act for _, act, _ in kept)]
    row[f"{prefix}_at_us"] = [*(None for _ in session_items), *(at for _, _, at in kept)]
    return {**rows, view.name: row}


def own_words(user: User, schema: FeatureSchema) -> npt.NDArray[np.float32] | None:
    """Unit vector of what the user wrote: the first embedding of a source that items have too."""
    item_sources = {view.source for view in schema.item_views if view.of_kind("embedding")}
    for view in schema.user_views:
        if view.source in item_sources and view.name in user.rows:
            for spec in view.of_kind("embedding"):
                vector = user.batches[view.name].columns[f"embedding:{spec.name}"][0]
                length = float(vector.norm())
                return (vector / length).numpy() if length else None
    return None
