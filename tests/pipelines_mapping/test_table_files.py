"""Files as they come: what cannot be read is counted with file and line, or is a clear error."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from feature_repo.pipelines.adapters.tables import read
from feature_repo.pipelines.build import main
from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.tables import DataError

COLUMNS = {
    "user_id": "u",
    "item_id": "i",
    "action": {"constant": "view"},
    "timestamp": {"column": "at", "time": "epoch_s"},
}
Rejects = list[tuple[str, str, int]]


def page(folder: Path, **rule: object) -> Path:
    """A mapping of one interactions file, `events.*`, with parts of the rule replaced."""
    tables = {"interactions": {"files": "events.*", "columns": COLUMNS, **rule}}
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump({"about": "test", "tables": tables}), encoding="utf-8")
    return path


def stage(folder: Path, **rule: object) -> tuple[list[dict[str, object]], Rejects]:
    """What the adapter stages of the folder's files, and what it rejects."""
    with RawSink(folder / "staging") as sink:
        read(folder, sink, {"mapping": page(folder, **rule)})
    paths = sorted((folder / "staging" / "interactions").glob("*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    rejected = pq.read_table(folder / "staging" / "rejected.parquet").to_pylist()
    return rows, [(row["reason"], row["source_file"], row["line"]) for row in rejected]


def test_rows_of_csv_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    lines = [b"u,i,at", b"a,x,1", b"b\xff,x,2", b"c,x", b"d,x,soon", b'"e,\n1",x,5', b"f,x,6"]
    (tmp_path / "events.csv").write_bytes(b"\n".join(lines) + b"\n")
    rows, rejected = stage(tmp_path)
    assert [(row["user_id"], row["line"]) for row in rows] == [("a", 2), ("e,\n1", 6), ("f", 8)]
    assert sorted(rejected) == [
        ("bytes that are not text", "events.csv", 3),
        ("timestamp is not a time (epoch_s)", "events.csv", 5),
        ("wrong number of fields", "events.csv", 4),
    ]


def test_lines_of_json_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    lines = [
        b'{"u": 7, "i": "x", "at": 1}',
        b'{"u": "b\xff", "i": "x", "at": 2}',
        b"{not json}",
        b"[1, 2]",
        b"",
        b'{"u": ["c"], "i": "x", "at": 3}',
        b'{"u": "\\ud800", "i": "x", "at": 4}',
        b"[" * 100_000,
        b'{"u": "d", "i": true, "at": "soon"}',
        b'{"u": null, "i": 1.5, "at": 5}',
    ]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    rows, rejected = stage(tmp_path)
    assert [(row["user_id"], row["item_id"], row["line"]) for row in rows] == [
        ("7", "x", 1),
        (None, "1.5", 10),
    ]
    assert sorted(rejected) == [
        ("bytes that are not text", "events.jsonl", 2),
        ("bytes that are not text", "events.jsonl", 7),
        ("not a JSON object", "events.jsonl", 3),
        ("not a JSON object", "events.jsonl", 4),
        ("not a JSON object", "events.jsonl", 8),
        ("timestamp is not a time (epoch_s)", "events.jsonl", 9),
        ("u is a list", "events.jsonl", 6),
    ]


def test_parquet_brings_its_types_and_nested_objects(tmp_path: Path) -> None:
    people = pa.array([{"id": 1}, None, {"id": 3}])
    dictionary = pa.array(["x", "y", "x"]).dictionary_encode()
    table = pa.table({"who": people, "i": dictionary, "at": [1.5, 2.0, None]})
    pq.write_table(table, tmp_path / "events.parquet")
    rows, rejected = stage(tmp_path, columns={**COLUMNS, "user_id": "who.id"})
    assert [(row["user_id"], row["item_id"], row["line"]) for row in rows] == [
        ("1", "x", 1),
        (None, "y", 2),
        ("3", "x", 3),
    ]
    assert [row["timestamp"] is None for row in rows] == [False, False, True]
    assert rejected == []


def test_several_formats_of_one_table_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("u,i,at\na,x,1\n", encoding="utf-8")
    (tmp_path / "events.tsv").write_text("at\tu\ti\n1\ta\tx\n", encoding="utf-8")
    (tmp_path / "events.jsonl").write_text('{"u": "a", "i": "x", "at": 1}\n', encoding="utf-8")
    pq.write_table(pa.table({"u": ["a"], "i": ["x"], "at": [1]}), tmp_path / "events.parquet")
    rows, _ = stage(tmp_path)
    assert [row.pop("source_file") for row in rows] == [
        "events.csv",
        "events.jsonl",
        "events.parquet",
        "events.tsv",
    ]
    lines = [row.pop("line") for row in rows]
    assert lines == [2, 1, 1, 2]
    assert all(row == rows[0] for row in rows)


def test_values_that_are_not_listed_and_numbers_that_are_none(tmp_path: Path) -> None:
    text = "u,i,at,what,stars\na,x,1,b,5\nb,x,2,?,5\nc,x,3,,1\nd,x,4,b,many\n"
    (tmp_path / "events.csv").write_text(text, encoding="utf-8")
    action = {"column": "what", "values": {"b": "buy"}}
    rule = {
        "columns": {**COLUMNS, "action": action},
        "positive": {"column": "stars", "at_least": 4},
    }
    rows, rejected = stage(tmp_path, **rule)
    assert [(row["action"], row["is_positive"]) for row in rows] == [("buy", True), (None, False)]
    assert rejected == [
        ("action has a value that the mapping does not list", "events.csv", 3),
        ("stars is not a number", "events.csv", 5),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.csv", b"u,i\na,x\n", r"events\.csv has no column 'at' \(has: "),
        ("events.csv", b"", r"events\.csv is empty"),
        ("events.csv", b"u,i,at\n", r"events\.csv has a header and no rows"),
        ("events.jsonl", b'{"u": 1, "i": 2}\n', r"has no column 'at' \(has: i, u\)"),
        ("events.jsonl", b"", r"events\.jsonl has no rows that can be read"),
        ("events.parquet", b"PAR2", r"events\.parquet is not a Parquet file"),
        ("events.xlsx", b"", "say `format` in the mapping"),
        ("other.csv", b"", r"no file events\.\* in .*it has: mapping.yaml, other.csv"),
    ],
)
def test_a_file_that_does_not_fit_is_a_clear_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with RawSink(tmp_path / "out" / "staging") as sink, pytest.raises(DataError, match=message):
        read(tmp_path, sink, {"mapping": page(tmp_path)})


def test_a_parquet_file_without_the_column_is_a_clear_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"u": ["a"], "i": [{"j": 1}]}), tmp_path / "events.parquet")
    with (
        RawSink(tmp_path / "out" / "staging") as sink,
        pytest.raises(DataError, match=r"no column 'i', 'at' \(has: u, i\.j\)"),
    ):
        read(tmp_path, sink, {"mapping": page(tmp_path)})


def test_the_command_line_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", "tables", "--only", "tables", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "error: --mapping is missing" in capsys.readouterr().err
    assert main([*arguments, "--mapping", str(page(tmp_path))]) == 2
    assert "error: --source is missing" in capsys.readouterr().err
    nowhere = str(tmp_path / "nowhere")
    assert main([*arguments, "--mapping", str(page(tmp_path)), "--source", nowhere]) == 2
    assert "nowhere; that folder does not exist" in capsys.readouterr().err
