"""Item intake: a row of an item view that somebody sends goes to Feast and into the next answer.

In: an item, a view, and some of its features. Out: Feast's online store has the row, the file of
item pushes has it too (serving/item_pushes.py), and every replica reads it from there.
"""

import asyncio
import logging
from collections.abc import Mapping

import pandas as pd
from feast import FeatureStore

from serving.api import ItemRowRequest, ItemRowResponse
from serving.clock import instant, microseconds
from serving.errors import FutureEventError, ItemRowError, UnavailableError
from serving.intake import FUTURE_TOLERANCE_US
from serving.item_pushes import ItemPush, append
from serving.live import Live
from serving.pusher import PANDAS_TYPES
from serving.snapshot import Snapshot
from training.plain_rows import Row, as_table
from training.schema import ViewSpec

logger = logging.getLogger("ray.serve")


class ItemIntake:
    """Takes rows in for one replica."""

    def __init__(self, live: Live, store: FeatureStore) -> None:
        """`store` is written to in another thread than requests read in."""
        self._live, self._store = live, store

    async def take(self, request: ItemRowRequest) -> ItemRowResponse:
        """Answers when the row is durable. Raises ItemRowError and FutureEventError before anything
        is kept, and UnavailableError where Feast or the disk did not take it: it may be sent again.
        """
        return await asyncio.to_thread(self._take, request)

    def _take(self, request: ItemRowRequest) -> ItemRowResponse:
        state = self._live.state
        now_us = state.clock.now_us()
        at_us = microseconds(request.at) if request.at else now_us
        if at_us > now_us + FUTURE_TOLERANCE_US:
            raise FutureEventError(
                f"at: {request.at} lies after the server's now, {instant(now_us)}"
            )
        types = self._types(state.snapshot, request)
        row = {**current(state.snapshot, request), **request.features}
        spec = state.snapshot.views[request.view].view
        check_kinds(spec, request.features)
        try:
            state.snapshot.bundle.encoder.encode(request.view, as_table(spec, [row]))
        except ValueError as error:
            raise ItemRowError(f"features: {error}") from error
        frame = feast_row(spec.join_key, request.item_id, row, types, at_us)
        try:
            self._store.write_to_online_store(request.view, frame)
            append(self._live.pushes, ItemPush(request.view, request.item_id, at_us, row))
        except Exception as error:
            logger.exception("an item's row was not kept")
            raise UnavailableError(
                f"the row was not kept: {type(error).__name__}; send it again"
            ) from error
        shown = request.item_id in state.snapshot.position
        return ItemRowResponse(item_id=request.item_id, view=request.view, shown=shown)

    def _types(self, snapshot: Snapshot, request: ItemRowRequest) -> dict[str, str]:
        """Feast's types of the view's features."""
        if request.view not in snapshot.views:
            raise ItemRowError(
                f"view: {request.view!r} is no item view of service "
                f"'{snapshot.bundle.schema.service}' (has: {', '.join(snapshot.views)})"
            )
        fields = self._store.get_feature_view(request.view).features
        types = {field.name: str(field.dtype) for field in fields}
        unknown = [name for name in request.features if name not in types]
        if unknown:
            raise ItemRowError(
                f"features: view '{request.view}' has no {', '.join(unknown)} "
                f"(has: {', '.join(types)})"
            )
        return types


def check_kinds(view: ViewSpec, features: Mapping[str, object]) -> None:
    """Raise ItemRowError where a list is no list, or a text no text: Arrow would take a text for a
    list of letters."""
    for field in view.fields:
        wanted = list if field.kind in ("sequence", "embedding") else str
        value = features.get(field.name)
        checked = field.kind in ("sequence", "embedding", "text", "categorical")
        if checked and value is not None and not isinstance(value, wanted):
            raise ItemRowError(
                f"features: field '{field.name}' of view '{view.name}' is of kind "
                f"'{field.kind}', {value!r} is not"
            )


def current(snapshot: Snapshot, request: ItemRowRequest) -> Row:
    """The row that is there: features that are not sent keep their values."""
    position = snapshot.position.get(request.item_id)
    if position is None:
        return {}
    rows = snapshot.views[request.view]
    texts: Row = {field.name: None for field in rows.view.of_kind("text")}
    if "title" in texts:
        texts["title"] = snapshot.titles[position]
    return {**texts, **rows.pushed.get(position, {}), **(rows.row(position) or {})}


def feast_row(
    key: str, item_id: str, row: Row, types: Mapping[str, str], at_us: int
) -> pd.DataFrame:
    """One row as Feast's online stores take it."""
    frame = pd.DataFrame([{key: item_id, **{name: row.get(name) for name in types}}])
    scalars = {name: kind for name, kind in types.items() if not kind.startswith("Array")}
    frame = frame.astype({n: PANDAS_TYPES.get(kind, "object") for n, kind in scalars.items()})
    frame["event_timestamp"] = frame["created_timestamp"] = pd.Timestamp(instant(at_us))
    return frame
