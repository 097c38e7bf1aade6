"""Delimited files: what is wrong with a file or a row is said, with its place."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.delimited import Dialect, cast_column, read_delimited, require_file
from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.tables import DataError


def read_all(folder: Path, content: bytes, *, batch_rows: int = 2, **dialect: object) -> pa.Table:
    path = folder / "events.csv"
    path.write_bytes(content)
    with RawSink(folder / "raw") as sink:
        chunks = read_delimited(
            path,
            ["user", "item"],
            sink,
            "interactions",
            Dialect.model_validate(dialect),
            batch_rows=batch_rows,
        )
        return pa.concat_tables(chunks)


def rejected(folder: Path) -> list[dict[str, object]]:
    return pq.read_table(folder / "raw" / "rejected.parquet").to_pylist()


def test_columns_are_found_by_name_and_rows_know_their_line(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfitem,extra,user\r\n"a, ""b""",x,1\r\n"two\nlines",x,2\r\n\r\nc,x,3\r\n'
    table = read_all(tmp_path, content)
    assert table["item"].to_pylist() == ['a, "b"', "two\nlines", "c"]
    assert table["user"].to_pylist() == ["1", "2", "3"]
    assert table["line"].to_pylist() == [2, 3, 6]
    assert set(table["source_file"].to_pylist()) == {"events.csv"}


def test_bytes_that_are_not_utf8_cost_their_row_only(tmp_path: Path) -> None:
    table = read_all(tmp_path, b"user,item\n1,good\n2,caf\xe9\n3,\xc3\xa9t\xc3\xa9\n", batch_rows=9)
    assert table["item"].to_pylist() == ["good", "été"]
    (row,) = rejected(tmp_path)
    assert (row["reason"], row["line"]) == ("bytes that are not text", 3)
    assert "caf\\\\xe9" in str(row["row"])


def test_another_encoding_may_be_named(tmp_path: Path) -> None:
    table = read_all(tmp_path, "user,item\n1,café\n".encode("latin-1"), encoding="ISO-8859-1")
    assert table["item"].to_pylist() == ["café"]
    with pytest.raises(ValueError, match="'utf-9' is not an encoding"):
        Dialect(encoding="utf-9")


def test_a_ragged_row_is_set_aside(tmp_path: Path) -> None:
    table = read_all(tmp_path, b"user,item\n1,a\n2,b,c\n3\n4,d\n")
    assert table["user"].to_pylist() == ["1", "4"]
    assert [(row["reason"], row["line"]) for row in rejected(tmp_path)] == [
        ("wrong number of fields", 3),
        ("wrong number of fields", 4),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: not even a header"),
        (b"user,item\n", "has a header and no rows"),
        (b"user,thing\n1,a\n", r"has no column 'item' \(has: user, thing\)"),
        (b"us\xffer,item\n1,a\n", r"has no column 'user' \(has: us\\xffer, item\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_all(tmp_path, content)


def test_an_open_quotation_mark_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_repo.pipelines.delimited.LONGEST_FIELD", 1_000)
    content = b'user,item\n1,a\n2,"never closed\n' + b"3,b\n" * 1_000
    with pytest.raises(DataError, match=r"line 3: .*quotation mark left open"):
        read_all(tmp_path, content)


def test_a_missing_file_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "raitings.csv").touch()
    with pytest.raises(DataError, match=r"ratings\.csv does not exist; .*has: raitings\.csv"):
        require_file(tmp_path, "ratings.csv")
    with pytest.raises(DataError, match="does not exist"):
        require_file(tmp_path / "nowhere", "ratings.csv")
    with pytest.raises(DataError, match="--source is missing"):
        require_file(None, "ratings.csv")


def test_a_number_that_is_none_costs_its_row_only(tmp_path: Path) -> None:
    chunk = pa.table({"n": ["1", "two", "3"], "source_file": ["f"] * 3, "line": [2, 3, 4]})
    with RawSink(tmp_path / "raw") as sink:
        assert cast_column(chunk, "n", pa.int64(), sink, "items")["n"].to_pylist() == [1, 3]
    assert [(row["reason"], row["line"]) for row in rejected(tmp_path)] == [
        ("n is not a number", 3)
    ]
