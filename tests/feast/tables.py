"""Feature tables by hand, and a feature repo around them, for tests that need neither a data set
nor a pipeline.

The schemas say again what the pipelines write, so that a test fails when definitions, pipelines and
readers drift apart.
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

REPO = Path(__file__).resolve().parents[2] / "feature_repo"

_TEXT, _COUNT, _SHARE, _INSTANT = pa.string(), pa.int64(), pa.float32(), pa.int64()
_TEXTS, _NUMBERS, _INSTANTS = pa.list_(pa.string()), pa.list_(pa.float32()), pa.list_(pa.int64())
_COUNTERS = {f"events_{days}d": pa.float32() for days in (1, 7, 30, 365)}

FEATURES: dict[str, dict[str, pa.DataType]] = {
    "user_activity": {
        **_COUNTERS,
        "num_events": _COUNT,
        "rating_bias": pa.float32(),
        "counted_at_us": _INSTANT,
    },
    "user_history": {
        "recent_items": _TEXTS,
        "recent_actions": _TEXTS,
        "recent_at_us": _INSTANTS,
    },
    "user_affinity": {
        "top_categories": _TEXTS,
        "top_category_shares": _NUMBERS,
        "favourite_category": _TEXT,
    },
    "item_attributes": {
        "title": _TEXT,
        "category": _TEXT,
        "categories": _TEXTS,
        "creator": _TEXT,
        "price": pa.float32(),
        "available_at_us": _INSTANT,
    },
    "item_popularity": {
        **_COUNTERS,
        "num_events": _COUNT,
        "num_users": _COUNT,
        "rating_mean": pa.float32(),
        "rating_count": _COUNT,
        "counted_at_us": _INSTANT,
    },
    "user_social": {
        "num_friends": _COUNT,
        "reciprocity": _SHARE,
        "friends_events_30d": pa.float32(),
        "counted_at_us": _INSTANT,
        "top_friends": _TEXTS,
        "friends_recent_items": _TEXTS,
        "friends_recent_counts": pa.list_(pa.int64()),
    },
    "user_graph": {"graph_embedding": _NUMBERS},
    "item_text": {
        "text_embedding": _NUMBERS,
        "keywords": _TEXTS,
        "sentiment": pa.float32(),
        "num_documents": _COUNT,
    },
    "user_text": {
        "words_embedding": _NUMBERS,
        "own_keywords": _TEXTS,
        "own_sentiment": pa.float32(),
        "num_own_documents": _COUNT,
    },
}
"""Feature columns of each view, as the pipelines write them."""


def schema_of(view: str) -> pa.Schema:
    """Columns of a view's Parquet file: join key, features, the two times."""
    key = "user_id" if view.startswith("user_") else "item_id"
    times = {name: pa.timestamp("us", "UTC") for name in ("event_timestamp", "created_timestamp")}
    return pa.schema({key: pa.string(), **FEATURES[view], **times})


def feature_table(view: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a view; columns left out are null, created_timestamp is event_timestamp."""
    filled = [{"created_timestamp": row["event_timestamp"], **row} for row in rows]
    return pa.Table.from_pylist(filled, schema=schema_of(view))


def day(number: int) -> datetime:
    """Midnight UTC of a day in January 2024; 1 is the first."""
    return datetime(2024, 1, number, tzinfo=UTC)


def write_repo(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """A copy of the feature repo in `folder`, with these rows and the other views empty.

    Returns the path of the copied repo. Nothing is applied.
    """
    repo = folder / "feature_repo"
    repo.mkdir(parents=True)
    for path in [*REPO.glob("*.py"), *REPO.glob("*.yaml"), REPO / ".feastignore"]:
        shutil.copy(path, repo / path.name)
    features = folder / "data" / "tiny" / "features"
    features.mkdir(parents=True)
    (folder / "data" / "current").symlink_to("tiny")
    for view in FEATURES:
        pq.write_table(feature_table(view, rows.get(view, ())), features / f"{view}.parquet")
    return repo
