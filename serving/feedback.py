"""Feedback: what one more event makes of a feature row, and of what a user rejected.

In: rows and events. Out: the rows after them. Counters follow the very algebra of the batch
pipeline (feature_repo.pipelines.features.decay) and histories its order, so that online and batch
rows agree whatever order events arrive in. What needs all of the data stays as the batch made it:
`rating_bias`, `rating_mean`, `rating_count`, `num_users`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from feature_repo.pipelines.features.behaviour import MAX_RECENT
from feature_repo.pipelines.features.decay import HALF_LIVES_DAYS, add_event
from serving.event_log import Event

NEGATIVE_ACTIONS = frozenset({"skip", "dislike", "hide", "unlike"})

Row = dict[str, Any]


def is_positive(action: str, value: float | None, positive_from: float) -> bool:
    """Whether an event counts as a take-up: no rejection, and no rating below the bound."""
    if action in NEGATIVE_ACTIONS:
        return False
    return not (action == "rate" and value is not None and value < positive_from)


class Rejections:
    """What users turned down and did not take up later."""

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, tuple[int, bool]]] = {}

    def add(self, events: Iterable[Event]) -> None:
        """The latest event on an item decides, whenever it arrives; of one instant, a rejection."""
        for event in events:
            of_user = self._latest.setdefault(event.user_id, {})
            told = event.at_us, not event.is_positive
            of_user[event.item_id] = max(told, of_user.get(event.item_id, told))

    def of(self, user_id: str) -> tuple[str, ...]:
        """Items, in the order in which the user met them first."""
        of_user = self._latest.get(user_id, {})
        return tuple(item for item, (_, rejected) in of_user.items() if rejected)


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
    """`user_history` after a take-up: newest first, each item once with its latest action.

    Of one instant, the items stand by name, and of several actions on one item the first by name.
    """
    entries = {
        item: (int(at), action)
        for item, action, at in zip(
            row.get("recent_items") or [],
            row.get("recent_actions") or [],
            row.get("recent_at_us") or [],
            strict=True,
        )
    }
    told = event.at_us, event.action
    known = entries.get(event.item_id, told)
    entries[event.item_id] = min(told, known, key=lambda entry: (-entry[0], entry[1]))
    newest = sorted(entries.items(), key=lambda entry: (-entry[1][0], entry[0]))[:MAX_RECENT]
    return {
        "recent_items": [item for item, _ in newest],
        "recent_actions": [action for _, (_, action) in newest],
        "recent_at_us": [at for _, (at, _) in newest],
    }


Update = Callable[[Row, Event], Row]
# View -> (the event's attribute that is its key, the update, whether only take-ups count).
UPDATES: dict[str, tuple[str, Update, bool]] = {
    "user_activity": ("user_id", updated_activity, False),
    "user_history": ("user_id", updated_history, True),
    "item_popularity": ("item_id", updated_activity, False),
}


def touched(view: str, event: Event) -> bool:
    """Whether an event changes a row of the view."""
    return event.is_positive or not UPDATES[view][2]
