"""Feedback: an event becomes durable first, then new feature rows, which Feast is pushed.

In: an accepted event. Out: the views that were updated. The counters follow the very algebra of the
batch pipeline (feature_repo.pipelines.features.decay), so online and batch rows agree.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore
from feast.data_source import PushMode

from feature_repo.pipelines.features.decay import HALF_LIVES_DAYS, add_event
from serving.clock import instant

MAX_HISTORY = 50
NEGATIVE_ACTIONS = frozenset({"skip", "dislike", "hide", "unlike"})


@dataclass(frozen=True)
class Event:
    event_id: str
    user_id: str
    item_id: str
    action: str
    value: float | None
    at_us: int
    is_positive: bool


def is_positive(action: str, value: float | None, positive_from: float) -> bool:
    """Whether an event counts as a take-up: no rejection, and no rating below the bound."""
    if action in NEGATIVE_ACTIONS:
        return False
    return not (action == "rate" and value is not None and value < positive_from)


class FeedbackLog:
    """Append-only file of accepted events, one JSON object a line; each event id once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._ids: set[str] = set()
        self._rejected: dict[str, dict[str, None]] = {}
        _cut_unfinished_line(path)
        for event in read_log(path):
            self._remember(event)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def append(self, event: Event) -> None:
        """Returns when the event is on the disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._remember(event)

    def rejected_by(self, user_id: str) -> tuple[str, ...]:
        """Items that the user gave negative feedback on."""
        return tuple(self._rejected.get(user_id, ()))

    def _remember(self, event: Event) -> None:
        self._ids.add(event.event_id)
        rejected = self._rejected.setdefault(event.user_id, {})
        if event.is_positive:
            rejected.pop(event.item_id, None)
        else:
            rejected[event.item_id] = None


def _cut_unfinished_line(path: Path) -> None:
    """A last line without its end was being written in a crash and never acknowledged."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


def read_log(path: Path) -> list[Event]:
    """Events of a log; ValueError names the line that is none."""
    if not path.exists():
        return []
    events = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            events.append(Event(**json.loads(line)))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no feedback event: {error}") from error
    return events


Row = dict[str, Any]


def updated_activity(row: Row, event: Event) -> Row:
    """`user_activity` or `item_popularity` after one more event."""
    counted_at_us = row.get("counted_at_us")
    valued_at_us = event.at_us if counted_at_us is None else int(counted_at_us)
    new = dict(row)
    for name, half_life in HALF_LIVES_DAYS.items():
        value = float(row.get(name) or 0.0)
        new[name], new["counted_at_us"] = add_event(value, valued_at_us, event.at_us, half_life)
    new["num_events"] = int(row.get("num_events") or 0) + 1
    return new


def updated_history(row: Row, event: Event) -> Row:
    """`user_history` after a take-up; the newest first, whatever order events arrive in."""
    old = zip(
        row.get("recent_items") or [],
        row.get("recent_actions") or [],
        row.get("recent_at_us") or [],
        strict=True,
    )
    kept = [(item, action, int(at)) for item, action, at in old if item != event.item_id]
    entries = [(event.item_id, event.action, event.at_us), *kept]
    entries.sort(key=lambda entry: -entry[2])  # stable: an equal instant keeps the newcomer first
    items, actions, instants = zip(*entries[:MAX_HISTORY], strict=True)
    return {
        "recent_items": list(items),
        "recent_actions": list(actions),
        "recent_at_us": list(instants),
    }


Update = Callable[[Row, Event], Row]
# View -> (the event's attribute that is its key, the update, whether only take-ups count).
UPDATES: dict[str, tuple[str, Update, bool]] = {
    "user_activity": ("user_id", updated_activity, False),
    "user_history": ("user_id", updated_history, True),
    "item_popularity": ("item_id", updated_activity, False),
}


class FeaturePusher:
    """Pushes the views of `UPDATES` that the registry has a push source `<view>_push` for."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        views = {view.name: view for view in store.list_batch_feature_views()}
        sources = {source.name for source in store.list_data_sources()}
        self._fields = {
            name: {field.name: str(field.dtype) for field in views[name].features}
            for name in UPDATES
            if name in views and f"{name}_push" in sources
        }

    def push(self, event: Event) -> list[str]:
        """Update the online rows that the event touches; returns the names of their views."""
        pushed = []
        for view in self._fields:
            key, update, positives_only = UPDATES[view]
            if event.is_positive or not positives_only:
                key_value = getattr(event, key)
                self._write(view, key, key_value, update(self._read(view, key, key_value), event))
                pushed.append(view)
        return pushed

    def _read(self, view: str, key: str, value: str) -> Row:
        features = [f"{view}:{name}" for name in self._fields[view]]
        row = self._store.get_online_features(features, [{key: value}]).to_dict()
        return {name: row[name][0] for name in self._fields[view] if row[name][0] is not None}

    def _write(self, view: str, key: str, value: str, row: Row) -> None:
        newest_us = row["recent_at_us"][0] if "recent_at_us" in row else row["counted_at_us"]
        at = instant(int(newest_us))
        frame = pd.DataFrame([{key: value, **{n: row.get(n) for n in self._fields[view]}}])
        for name, dtype in self._fields[view].items():
            if not dtype.startswith("Array"):
                frame[name] = frame[name].astype(PANDAS_TYPES.get(dtype, "object"))
        frame["event_timestamp"] = frame["created_timestamp"] = pd.Timestamp(at)
        self._store.push(f"{view}_push", frame, to=PushMode.ONLINE)


PANDAS_TYPES = {"Int64": "Int64", "Float32": "float32", "Float64": "float64"}
