"""Canonical tables made by hand: five users, four items, plays without a time, tags with one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.pipelines.tables import SCHEMAS, DatasetInfo, table_path

START = datetime(2024, 1, 1, tzinfo=UTC)
TRAIN_DAYS, VALIDATION_DAYS = 10, 20
Row = dict[str, Any]


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def play(user: str, item: str, count: float, number: int | None = None) -> Row:
    """A play at the start of a day, or one without a time."""
    return {
        "event_id": f"{user}-{item}-{number}",
        "user_id": user,
        "item_id": item,
        "action": "play",
        "value": count,
        "timestamp": day(99 if number is None else number),
        "is_positive": True,
        "timed": number is not None,
    }


def tag(user: str, item: str, text: str, number: int = 1) -> Row:
    return {
        "document_id": f"{user}-{item}-{text}",
        "user_id": user,
        "item_id": item,
        "kind": "tag",
        "text": text,
        "timestamp": day(number),
    }


def link(source: str, target: str, number: int = 0) -> Row:
    return {"source_id": source, "target_id": target, "kind": "follow", "valid_from": day(number)}


def write_tables(folder: Path, interactions: list[Row], **others: list[Row]) -> Path:
    """A data set folder with these rows; users u0 to u4, items i0 to i3 with a category each."""
    rows: dict[str, list[Row]] = {
        "users": [{"user_id": f"u{n}", "joined_at": START} for n in range(5)],
        "items": [
            {
                "item_id": f"i{n}",
                "title": f"title {n % 2}",
                "categories": [f"kind {n % 2}"],
                "available_at": START,
            }
            for n in range(4)
        ],
        "interactions": interactions,
        "edges": others.get("edges", []),
        "documents": others.get("documents", []),
    }
    for name, table in rows.items():
        path = table_path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(table, SCHEMAS[name]), path)
    DatasetInfo(
        name="hand",
        source="by hand",
        time_resolution="exact",
        first_event_at=START,
        last_event_at=day(30),
        train_end_at=day(TRAIN_DAYS),
        validation_end_at=day(VALIDATION_DAYS),
    ).write(folder)
    return folder
