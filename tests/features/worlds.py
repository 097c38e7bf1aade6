"""Small canonical tables made awkward: ties, exact midnights, long gaps, rows without a time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.pipelines.tables import SCHEMAS, table_path, write_table_atomic

DAY_US = 86_400_000_000
Row = dict[str, object]


def instant(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def micros(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@dataclass(frozen=True)
class World:
    """Rows as plain dictionaries, so that the oracle needs no library to read them."""

    items: list[Row]
    interactions: list[Row]
    edges: list[Row]

    def write(self, data_dir: Path) -> Path:
        people = {str(row["user_id"]) for row in self.interactions}
        people |= {str(edge[end]) for edge in self.edges for end in ("source_id", "target_id")}
        tables = {
            "users": [{"user_id": person, "joined_at": None} for person in sorted(people)],
            "items": self.items,
            "interactions": self.interactions,
            "edges": self.edges,
            "documents": [],
        }
        for name, rows in tables.items():
            table = pa.Table.from_pylist(rows, schema=SCHEMAS[name])
            write_table_atomic(table, table_path(data_dir, name))
        return data_dir


def random_world(
    seed: int, num_events: int = 250, span_days: int = 900, num_items: int = 15
) -> World:
    """Eight users; a third of the events tie at a midnight, as month-dated sources do."""
    random = np.random.default_rng(seed)
    users, items = [f"u{i}" for i in range(8)], [f"i{i:02}" for i in range(num_items)]
    start_us = 13_000 * DAY_US
    midnights = start_us + random.integers(0, span_days, size=12) * DAY_US

    def moment() -> int:
        if random.random() < 0.33:
            return int(random.choice(midnights))
        return start_us + int(random.integers(span_days * DAY_US))

    interactions = [
        event(f"e{n:04}", random.choice(users), random.choice(items), moment(), random)
        for n in range(num_events)
    ]
    return World(
        items=[item(name, number, start_us) for number, name in enumerate(items)],
        interactions=interactions,
        edges=[link(users, moment(), random) for _ in range(24)],
    )


def item(name: str, number: int, available_us: int) -> Row:
    """Every fifth item has no category, every third two, one only the primary one."""
    category = None if number % 5 == 0 else f"c{number % 4}"
    several = [str(category), f"d{number // 3 % 4}"] if category and number % 3 == 0 else []
    return {
        "item_id": name,
        "title": f"Title {name}",
        "category": category,
        "categories": several or ([category] if category and number != 1 else []),
        "creator": None if number % 2 else "someone",
        "price": None if number % 3 else number / 2,
        "available_at": instant(available_us),
    }


def event(name: str, user: str, item_id: str, at_us: int, random: np.random.Generator) -> Row:
    action = str(random.choice(["rate", "rate", "play", "tag"]))
    return {
        "event_id": name,
        "user_id": str(user),
        "item_id": str(item_id),
        "action": action,
        "value": None if random.random() < 0.1 else float(random.integers(1, 11)) / 2,
        "timestamp": instant(at_us),
        "is_positive": bool(random.random() < 0.7),
        "timed": bool(random.random() < 0.9),
    }


def link(users: list[str], at_us: int, random: np.random.Generator) -> Row:
    """A follow or friend link, one way; a third have no time; a user may be linked to himself."""
    timed = bool(random.random() < 0.66)
    return {
        "source_id": str(random.choice(users[:6])),
        "target_id": str(random.choice(users)),
        "kind": str(random.choice(["friend", "follow"])),
        "valid_from": instant(at_us if timed else 0),
        "timed": timed,
    }
