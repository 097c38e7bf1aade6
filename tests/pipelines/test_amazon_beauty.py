"""The Amazon Beauty adapter: time made from order, so that a cut in time leaves the last out."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.build import main
from feature_repo.pipelines.tables import DatasetInfo, table_path
from tests.pipelines.raw_rows import BEAUTY, write_files


def build(source: Path, out: Path) -> int:
    arguments = ["--dataset", "amazon-beauty", "--source", source, "--out", out]
    return main([*map(str, arguments), "--only", "tables", "--train-fraction", "0.4"])


def test_lines_are_counted_back_from_the_last_day(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(write_files(tmp_path / "raw", BEAUTY), out) == 0
    events = pq.read_table(table_path(out, "interactions")).to_pylist()
    found = {(row["user_id"], row["item_id"]): row["timestamp"] for row in events}
    days = {key: at.day for key, at in found.items()}
    assert days == {
        ("1", "1"): 21,
        ("1", "2"): 22,
        ("1", "3"): 23,
        ("2", "3"): 22,
        ("2", "1"): 23,
        ("3", "2"): 21,
        ("3", "1"): 22,
        ("3", "3"): 23,
    }
    assert found["1", "3"] == datetime(2014, 7, 23, tzinfo=UTC)
    assert any("no time" in note for note in DatasetInfo.read(out).notes)


def test_titles_and_attributes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(write_files(tmp_path / "raw", BEAUTY), out) == 0
    items = pq.read_table(table_path(out, "items")).to_pylist()
    assert [(row["title"], row["category"]) for row in items] == [
        ("Lacquer, red", "attribute 7"),  # on two items, attribute 5 on one
        ("2", "attribute 7"),
        ("Soap", None),
    ]
    assert items[0]["categories"] == ["attribute 7", "attribute 5"]


def test_attributes_that_are_no_json_object_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = BEAUTY | {"Beauty_item2attributes.json": "[1,"}
    assert build(write_files(tmp_path / "raw", files), tmp_path / "out") == 2
    assert "Beauty_item2attributes.json is not a JSON object" in capsys.readouterr().err


@pytest.mark.data
def test_the_published_files_split_as_leave_last_out(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "beauty"
    arguments = ["--dataset", "amazon-beauty", "--source", real_data / "amazon-beauty"]
    assert main([*map(str, arguments), "--out", str(out), "--only", "tables"]) == 0
    info = DatasetInfo.read(out)
    path = table_path(out, "interactions")
    held_out = duckdb.execute(
        f"""SELECT count(*), count(DISTINCT user_id) FROM read_parquet('{path}')
        WHERE timestamp >= $1 AND timestamp < $2""",
        [info.train_end_at, info.validation_end_at],
    ).fetchone()
    assert held_out == (22_363, 22_363)
    assert pq.read_metadata(path).num_rows == 198_502
    assert info.validation_end_at == info.last_event_at == datetime(2014, 7, 23, tzinfo=UTC)
