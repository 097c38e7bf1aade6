"""Canonical tables of a few rows, and an encoder whose vectors can be worked out by hand."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.pipelines.tables import SCHEMAS, DatasetInfo, table_path, write_table_atomic

Row = Mapping[str, Any]
TRAIN_END = datetime(2020, 3, 1, tzinfo=UTC)


def instant(text: str) -> datetime:
    """`2020-01-31 12:30` as an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def item(item_id: str, title: str, available_at: str, **more: Any) -> Row:
    """One row of `items`."""
    blank = dict.fromkeys(["description", "category", "creator", "price"])
    known = {"item_id": item_id, "title": title, "available_at": instant(available_at)}
    return {**blank, "categories": [], **known, **more}


def document(number: int, text: str, at: str, kind: str = "review", **who: str) -> Row:
    """One row of `documents`; `who` is user_id, item_id or both."""
    known = {"document_id": f"d{number:04}", "kind": kind, "text": text, "timestamp": instant(at)}
    return {"user_id": None, "item_id": None, **known, **who}


def write_data(folder: Path, items: Iterable[Row], documents: Iterable[Row]) -> Path:
    """A data set folder with these items and documents and nothing else."""
    rows = {"items": list(items), "documents": list(documents)}
    for name, schema in SCHEMAS.items():
        write_table_atomic(
            pa.Table.from_pylist(rows.get(name, []), schema), table_path(folder, name)
        )
    DatasetInfo(
        name="hand-made",
        source="written by hand",
        time_resolution="exact",
        first_event_at=instant("2020-01-01"),
        last_event_at=instant("2020-06-01"),
        train_end_at=TRAIN_END,
        validation_end_at=instant("2020-04-01"),
    ).write(folder)
    return folder


class CountingEncoder:
    """Unit vectors drawn from a seed that is the text's hash; remembers what it was asked."""

    dims = 16
    fingerprint = "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector a text, the same in every call."""
        self.asked += texts
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> NDArray[np.float32]:
        """The vector of one text."""
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        drawn = np.random.default_rng(seed).normal(size=self.dims)
        return (drawn / np.linalg.norm(drawn)).astype(np.float32)
