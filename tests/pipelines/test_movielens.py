"""The MovieLens adapter, on a miniature and on the published files."""

import doctest
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.adapters import movielens
from feature_repo.pipelines.build import main
from feature_repo.pipelines.tables import DatasetInfo, table_path
from tests.pipelines.raw_rows import MOVIELENS, write_files


def build(source: Path, out: Path) -> int:
    arguments = ["--dataset", "movielens", "--source", source, "--out", out, "--only", "tables"]
    return main([str(argument) for argument in arguments])


def test_films_ratings_and_tags(tmp_path: Path) -> None:
    source, out = write_files(tmp_path / "ml", MOVIELENS), tmp_path / "out"
    assert build(source, out) == 0
    items = {row["item_id"]: row for row in pq.read_table(table_path(out, "items")).to_pylist()}
    assert items["1"]["title"] == "The American President (1995)"
    assert items["1"]["category"] == "Comedy"
    assert items["1"]["categories"] == ["Comedy", "Drama"]
    assert items["1"]["available_at"] == datetime(1995, 1, 1, tzinfo=UTC)
    assert items["2"]["categories"] == []
    assert items["2"]["available_at"] == datetime(1970, 1, 1, tzinfo=UTC)
    assert items["3"]["available_at"] == datetime.fromtimestamp(1_000_000_200, UTC)
    events = pq.read_table(table_path(out, "interactions")).to_pylist()
    likes = {(row["user_id"], row["item_id"]): row["is_positive"] for row in events}
    assert likes[("1", "2")] is False
    assert likes[("2", "3")] is True
    assert {row["action"] for row in events} == {"rate"}
    documents = pq.read_table(table_path(out, "documents")).to_pylist()
    assert [row["text"] for row in documents] == ["funny", "slow"]
    assert pq.read_table(table_path(out, "users")).num_rows == 9


def test_tags_are_optional_and_their_absence_is_noted(tmp_path: Path) -> None:
    files = {name: content for name, content in MOVIELENS.items() if name != "tags.csv"}
    out = tmp_path / "out"
    assert build(write_files(tmp_path / "ml", files), out) == 0
    assert any("no tags.csv" in note for note in DatasetInfo.read(out).notes)


def test_ratings_that_cannot_be_are_set_aside(tmp_path: Path) -> None:
    bad = "3,1,9.0,1000000400\n3,77,4.0,1000000400\n3,1,good,1000000400\n3,1,4.0,soon\n"
    files = MOVIELENS | {"ratings.csv": str(MOVIELENS["ratings.csv"]) + bad}
    out = tmp_path / "out"
    assert build(write_files(tmp_path / "ml", files), out) == 0
    rows = pq.read_table(out / "quarantine" / "interactions.parquet").to_pylist()
    assert {(row["line"], row["reason"]) for row in rows} == {
        (12, "value of rate is outside 0.5 to 5"),
        (13, "unknown item"),
        (14, "rating is not a number"),
        (15, "timestamp is not a number"),
    }


@pytest.mark.data
def test_the_published_files(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "movielens"
    assert build(real_data / "ml-latest-small", out) == 0
    rows = {name: pq.read_metadata(table_path(out, name)).num_rows for name in ("users", "items")}
    assert rows == {"users": 671, "items": 9_125}
    assert pq.read_metadata(table_path(out, "interactions")).num_rows == 100_004
    assert pq.read_metadata(table_path(out, "documents")).num_rows == 1_296
    quarantine = pq.read_table(out / "quarantine" / "interactions.parquet")
    assert quarantine.num_rows == 0
    info = DatasetInfo.read(out)
    assert info.train_end_at.date().isoformat() == "2009-10-15"
    assert info.validation_end_at.date().isoformat() == "2012-07-31"


def test_titles_stand_upright() -> None:
    assert doctest.testmod(movielens) == (0, 1)
