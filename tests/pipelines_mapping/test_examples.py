"""Each example mapping through the complete build: the canonical values are those of the files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.build import main
from feature_repo.pipelines.tables import SCHEMAS, DatasetInfo, quarantine_path, table_path

EXAMPLES = Path(__file__).parents[2] / "examples"
Rows = list[dict[str, Any]]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def build(name: str, folder: Path) -> dict[str, Rows]:
    """Run the command of the page's first lines, tables only, and read what came out."""
    out = folder / name
    mapping, source = EXAMPLES / "mappings" / f"{name}.yaml", EXAMPLES / "data" / name
    paths = ["--mapping", str(mapping), "--source", str(source), "--out", str(out)]
    assert main(["--dataset", "tables", "--only", "tables", *paths]) == 0
    for table, schema in SCHEMAS.items():
        assert pq.read_schema(table_path(out, table)).names == schema.names
    rows = {table: pq.read_table(table_path(out, table)).to_pylist() for table in SCHEMAS}
    for table in SCHEMAS:
        rows[f"rejected {table}"] = pq.read_table(quarantine_path(out, table)).to_pylist()
    return rows


def columns(rows: Rows, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def rejects(rows: Rows) -> list[tuple[Any, ...]]:
    return columns(rows, "reason", "source_file", "line")


def test_shop(tmp_path: Path) -> None:
    rows = build("shop", tmp_path)
    assert columns(rows["users"], "user_id", "joined_at") == [
        ("C1", at("2024-01-02T08:15")),  # 09:15 in Berlin
        ("C2", at("2024-01-05T17:40")),
        ("C3", at("2024-02-01T07:00")),
    ]
    assert rows["items"][1] == {
        "item_id": "P-200",
        "title": "Bread knife",
        "description": "Long serrated blade",
        "category": "Kitchen",
        "categories": ["Kitchen", "Knives"],
        "creator": "Edge & Co",
        "price": 1024.5,
        "available_at": at("2023-12-14T23:00"),
    }
    assert columns(rows["items"], "price") == [(39.9,), (1024.5,), (None,)]
    assert columns(
        rows["interactions"], "user_id", "item_id", "action", "value", "timestamp", "is_positive"
    ) == [
        ("C1", "P-100", "buy", 1.0, at("2024-01-10T11:00"), True),
        ("C1", "P-200", "buy", 2.0, at("2024-01-10T11:00"), True),
        ("C1", "P-100", "rate", 5.0, at("2024-01-20T19:00"), True),
        ("C2", "P-100", "buy", 1.0, at("2024-01-31T22:30"), True),
        ("C2", "P-100", "rate", 2.0, at("2024-02-03T10:30"), False),
        ("C3", "P-300", "buy", 1.0, at("2024-02-14T06:45"), True),
        ("C3", "P-300", "rate", 4.0, at("2024-02-20T18:05"), True),
    ]
    assert rows["interactions"][0]["event_id"] == "1001-1"
    assert columns(rows["documents"], "document_id", "kind", "text") == [
        ("R1", "review", "Sears like a dream"),
        ("R2", "review", "Too heavy for me"),
    ]
    assert rejects(rows["rejected interactions"]) == [("unknown user", "2024-02.csv", 3)]
    assert rejects(rows["rejected documents"]) == [("text is missing", "reviews.csv", 4)]


def test_news(tmp_path: Path) -> None:
    rows = build("news", tmp_path)
    assert columns(rows["users"], "user_id") == [("r1",), ("r2",), ("r3",)]
    names = ("item_id", "description", "category", "categories", "creator", "available_at")
    assert columns(rows["items"], *names) == [
        ("501", "Ferries stay in port until Friday.", "weather", ["weather", "transport"],
         "K. Lind", at("2024-03-01T05:00")),
        ("502", "Two new lines are planned.", "city", ["city", "transport"],
         None, at("2024-03-01T16:30")),
        ("503", None, "city", ["city"], "M. Ode", at("2024-03-02T04:45")),
    ]  # fmt: skip
    assert columns(
        rows["interactions"], "user_id", "item_id", "action", "value", "timestamp", "is_positive"
    ) == [
        ("r1", "501", "view", None, at("2024-03-01T05:30"), False),
        ("r1", "501", "click", 48.0, at("2024-03-01T05:30:04"), True),
        ("r2", "502", "view", None, at("2024-03-01T17:30"), False),
        ("r2", "502", "click", 3.0, at("2024-03-01T17:30:05.5"), False),
        ("r2", "501", "skip", None, at("2024-03-01T17:31"), False),
        ("r1", "503", "click", 120.0, at("2024-03-02T06:00"), True),
        ("r3", "503", "click", 35.0, at("2024-03-02T08:00"), True),
        ("r2", "503", "click", 12.0, at("2024-03-02T08:10"), True),
        ("r3", "501", "click", 64.0, at("2024-03-02T08:20"), True),
        ("r3", "502", "click", 20.0, at("2024-03-02T08:30"), True),
    ]
    notes = DatasetInfo.read(tmp_path / "news").notes
    assert "interactions: 1 of 11 rows of readers.jsonl were left out by `only` (event)." in notes


def test_music(tmp_path: Path) -> None:
    rows = build("music", tmp_path)
    assert columns(rows["users"], "user_id", "joined_at") == [
        ("ana", at("2023-07-22T04:26:40")),
        ("bo", at("2023-09-18T01:20")),
        ("cy", at("2024-01-10T15:20")),
    ]
    assert columns(rows["items"], "item_id", "categories", "available_at") == [
        ("t1", ["electronic", "ambient"], at("2021-05-07T00:00")),
        ("t2", ["folk"], at("2019-01-01T00:00")),
        ("t3", ["electronic"], at("2023-11-24T00:00")),
    ]
    names = ("user_id", "item_id", "action", "timestamp", "is_positive")
    assert columns(rows["interactions"], *names) == [
        ("ana", "t1", "play", at("2024-01-05T20:00"), True),
        ("ana", "t3", "play", at("2024-01-05T20:04"), False),
        ("bo", "t2", "play", at("2024-01-06T07:30"), True),
        ("bo", "t1", "play", at("2024-01-07T22:10"), True),
        ("ana", "t2", "skip", at("2024-01-08T09:00"), False),
        ("ana", "t3", "play", at("2024-01-09T09:00"), True),
        ("bo", "t3", "play", at("2024-01-10T08:00"), True),
        ("cy", "t2", "play", at("2024-01-11T18:00"), True),
        ("cy", "t1", "play", at("2024-01-12T18:30"), True),
    ]
    values = [row["value"] for row in rows["interactions"]]
    assert values == pytest.approx([1.0, 0.08, 0.97, 0.55, 0.01, 0.9, 1.0, 0.75, 0.8])
    since = at("2023-11-14T22:13:20")
    assert columns(rows["edges"], "source_id", "target_id", "kind", "valid_from", "timed") == [
        ("ana", "bo", "friend", since, True),
        ("bo", "ana", "friend", since, True),
    ]
    assert columns(rows["documents"], "user_id", "item_id", "kind", "text", "timestamp") == [
        ("ana", "t1", "tag", "late night", at("2024-01-06T00:00")),
        ("bo", "t2", "tag", "sea", at("2024-01-07T00:00")),
    ]


def test_social(tmp_path: Path) -> None:
    rows = build("social", tmp_path)
    assert columns(rows["items"], "item_id", "title", "category", "categories", "creator") == [
        ("p1", "First ride of the year, snow on the pass", "cycling", ["cycling"], "@max"),
        ("p2", "Sourdough, attempt nine", "baking", ["baking", "bread"], "@noor"),
        ("p3", "Tubeless or not?", None, [], "@max"),
    ]
    assert columns(rows["interactions"], "user_id", "item_id", "action", "is_positive") == [
        ("@lea", "p1", "like", True),
        ("@max", "p2", "share", True),
        ("@lea", "p2", "hide", False),
        ("@noor", "p1", "like", True),
        ("@lea", "p3", "like", True),
        ("@noor", "p3", "share", True),
        ("@max", "p3", "like", True),
    ]
    assert columns(rows["edges"], "source_id", "target_id", "kind") == [
        ("@lea", "@max", "follow"),
        ("@lea", "@noor", "friend"),
        ("@max", "@noor", "follow"),
        ("@noor", "@lea", "friend"),
    ]
    assert columns(rows["documents"], "user_id", "item_id", "kind", "text") == [
        ("@max", "p1", "post", "First ride of the year, snow on the pass"),
        ("@noor", "p2", "post", "Sourdough, attempt nine"),
        ("@lea", "p1", "review", "What a view!"),
        ("@max", "p3", "post", "Tubeless or not?"),
    ]
    reason = "kind has a value that the mapping does not list"
    assert rejects(rows["rejected edges"]) == [(reason, "follows.csv", 5)]
