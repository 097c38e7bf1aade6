"""Pusher: events of the log become rows of Feast's online store, each event once.

In: events in the log's order. Out: pushed rows. A row is read, changed and written, and a process
may die between any two of these: the rows to write are therefore noted beside the log first.
Whoever comes next writes the noted rows again, which changes nothing if they had arrived.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore

from serving.clock import instant
from serving.event_log import Event, LogReader, locked
from serving.feedback import UPDATES, Row, touched

Rows = dict[str, dict[str, Row]]
"""By view, by key."""
Reading = Callable[[list[str], str, list[str]], dict[str, list[Any]]]
"""(features `view:name`, join key, its values) -> columns `view__name`, one value each; None where
there is none."""

GROUP = 1_000  # events pushed at a time: SQLite takes some thousand keys in one question
PANDAS_TYPES = {"Int64": "Int64", "Float32": "float32", "Float64": "float64"}


@dataclass(frozen=True)
class PushMark:
    """How far the log has been pushed."""

    until: int = 0
    """Everything before this byte has been, once `rows` are written."""
    rows: Rows = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "PushMark":
        """Nothing has been pushed where there is no file."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def write(self, path: Path) -> None:
        """At once or not at all, and durable."""
        new = path.with_name(path.name + ".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def mark_beside(log: Path) -> Path:
    """The file of a log's mark."""
    return log.with_name(log.name + ".pushed")


class FeaturePusher:
    """Pushes the views of `UPDATES` that the registry has a push source `<view>_push` for."""

    def __init__(self, store: FeatureStore) -> None:
        """ValueError for an online store that would refuse some of the rows."""
        # Feast's Redis store drops a row whose event time is not newer than the stored one's, and
        # that of a late event is not: it changes a counter, not the instant of the last event.
        if getattr(store.config.online_store, "skip_dedup", True) is False:
            raise ValueError(
                "online_store.skip_dedup is false: late feedback would be lost without a word; "
                "set `skip_dedup: true` in the feature store's YAML"
            )
        self._store = store
        views = {view.name: view for view in store.list_batch_feature_views()}
        sources = {source.name for source in store.list_data_sources()}
        self._fields = {
            name: {field.name: str(field.dtype) for field in views[name].features}
            for name in UPDATES
            if name in views and f"{name}_push" in sources
        }

    def views(self, event: Event) -> list[str]:
        """Names of the views that the event changes."""
        return [view for view in self._fields if touched(view, event)]

    def push(self, log: LogReader, mark_path: Path) -> bool:
        """Push what `log` has after the mark; whether there was any, for there may be more.

        Raises what the store raises; then the next call goes on where this one ended.
        """
        with locked(mark_path):
            mark = PushMark.read(mark_path)
            if mark.rows:
                self.put(mark_path, mark)
            log.offset = mark.until
            with locked(log.path):  # who appends may yet take back what the disk refuses
                events = log.new(limit=GROUP)
            if log.offset == mark.until:
                return False
            self.put(mark_path, PushMark(log.offset, self.after(events, self._online)))
            return True

    def put(self, mark_path: Path, mark: PushMark) -> None:
        """Note the mark's rows, write them, and be done with them. Only within the mark's lock."""
        mark.write(mark_path)
        self._write(mark.rows)
        PushMark(mark.until).write(mark_path)

    def after(self, events: Sequence[Event], read: Reading) -> Rows:
        """The rows that the events touch, as they are after all of them, from those that are read:
        once for the users and once for the items."""
        rows: Rows = {}
        for key in ("user_id", "item_id"):
            names = sorted({getattr(event, key) for event in events})
            views = [view for view in self._fields if UPDATES[view][0] == key]
            if names and views:
                features = [f"{view}:{name}" for view in views for name in self._fields[view]]
                rows |= self._by_view(views, names, read(features, key, names))
        changed: Rows = {view: {} for view in self._fields}
        for event in events:
            for view in self.views(event):
                key, update, _ = UPDATES[view]
                name = getattr(event, key)
                changed[view][name] = update(changed[view].get(name, rows[view][name]), event)
        return changed

    def _online(self, features: list[str], key: str, names: list[str]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = self._store.get_online_features(
            features=features,
            entity_rows=[{key: name} for name in names],
            full_feature_names=True,
        ).to_dict()
        return columns

    def _by_view(self, views: list[str], names: list[str], read: dict[str, list[Any]]) -> Rows:
        return {
            view: {
                name: {
                    feature: read[f"{view}__{feature}"][place]
                    for feature in self._fields[view]
                    if read[f"{view}__{feature}"][place] is not None
                }
                for place, name in enumerate(names)
            }
            for view in views
        }

    def _write(self, rows: Rows) -> None:
        for view, by_key in rows.items():
            if by_key:
                # What `FeatureStore.push` comes to, which before and after it makes objects of all
                # views and services of the registry: 60 ms of CPU for these three views.
                self._store.write_to_online_store(view, self._frame(view, by_key))

    def _frame(self, view: str, by_key: dict[str, Row]) -> pd.DataFrame:
        fields = self._fields[view]
        frame = pd.DataFrame([{name: row.get(name) for name in fields} for row in by_key.values()])
        for name, dtype in fields.items():
            if not dtype.startswith("Array"):
                frame[name] = frame[name].astype(PANDAS_TYPES.get(dtype, "object"))
        frame.insert(0, UPDATES[view][0], list(by_key))
        frame["event_timestamp"] = _newest(by_key.values())
        frame["created_timestamp"] = frame["event_timestamp"]
        return frame


def _newest(rows: Iterable[Row]) -> list[pd.Timestamp]:
    """The instant of the newest event that each row holds."""
    newest_us = (r["recent_at_us"][0] if "recent_at_us" in r else r["counted_at_us"] for r in rows)
    return [pd.Timestamp(instant(int(at_us))) for at_us in newest_us]
