"""The Last.fm adapter: encodings, months for times, untimed plays; small and published files."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.build import main
from feature_repo.pipelines.tables import DatasetInfo, table_path
from tests.pipelines.raw_rows import LASTFM, write_files


def build(source: Path, out: Path, *more: str) -> int:
    arguments = ["--dataset", "lastfm", "--source", source, "--out", out, "--only", "tables"]
    return main([*map(str, arguments), *more])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lastfm")
    assert (
        build(write_files(folder / "raw", LASTFM), folder / "out", "--train-fraction", "0.5") == 0
    )
    return folder / "out"


def test_names_are_read_in_the_encodings_they_were_published_in(built: Path) -> None:
    titles = pq.read_table(table_path(built, "items"))["title"].to_pylist()
    assert titles == ["Sigur Rós", '"Quoted', "Never"]
    texts = pq.read_table(table_path(built, "documents"))["text"].to_pylist()
    assert sorted(texts) == ["música", "rock", "rock", "rock", "rock"]


def test_tags_of_a_month_are_one_event(built: Path) -> None:
    events = pq.read_table(table_path(built, "interactions")).to_pylist()
    tags = [row for row in events if row["action"] == "tag"]
    assert [(row["user_id"], row["item_id"], row["value"], row["timestamp"]) for row in tags] == [
        ("1", "1", 2.0, datetime(2009, 4, 1, tzinfo=UTC)),
        ("1", "1", 1.0, datetime(2009, 5, 1, tzinfo=UTC)),
        ("2", "2", 1.0, datetime(2009, 6, 1, tzinfo=UTC)),
        ("2", "1", 1.0, datetime(2009, 7, 1, tzinfo=UTC)),
    ]
    assert all(row["timed"] and row["is_positive"] for row in tags)


def test_plays_have_no_time_and_lie_at_the_snapshot(built: Path) -> None:
    events = pq.read_table(table_path(built, "interactions")).to_pylist()
    plays = [row for row in events if row["action"] == "play"]
    assert [(row["user_id"], row["value"]) for row in plays] == [("1", 100.0), ("2", 7.0)]
    assert {(row["timed"], row["timestamp"]) for row in plays} == {
        (False, datetime(2011, 6, 1, tzinfo=UTC))
    }


def test_a_bogus_year_and_an_unknown_artist_are_set_aside(built: Path) -> None:
    documents = pq.read_table(built / "quarantine" / "documents.parquet")
    assert Counter(documents["reason"].to_pylist()) == {"tagged before 2005": 1, "unknown item": 1}
    assert "1956" in documents.to_pylist()[0]["row"]
    events = pq.read_table(built / "quarantine" / "interactions.parquet")
    assert events["reason"].to_pylist() == ["unknown item"]


@pytest.mark.data
def test_the_published_files(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "lastfm"
    assert build(real_data / "hetrec2011-lastfm-2k", out) == 0
    rows = {
        name: pq.read_metadata(table_path(out, name)).num_rows
        for name in ("users", "items", "edges")
    }
    assert rows == {"users": 1_892, "items": 17_632, "edges": 25_434}
    events = pq.read_table(table_path(out, "interactions"), columns=["action", "timed"])
    assert Counter(events["action"].to_pylist())["play"] == 92_834  # the publisher's figure
    documents = pq.read_metadata(table_path(out, "documents")).num_rows
    rejected = pq.read_table(out / "quarantine" / "documents.parquet")["reason"].to_pylist()
    assert documents + len(rejected) == 186_479  # the publisher's figure
    assert Counter(rejected) == {"tagged before 2005": 5, "unknown item": 1_538}
    assert DatasetInfo.read(out).first_event_at >= datetime(2005, 1, 1, tzinfo=UTC)
