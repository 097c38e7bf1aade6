"""Partitions without a Ray: what was split meets again, and plans follow the sizes."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from feature_repo.plugins.entity_frame import EntityFrame, read_entity_runs
from feature_repo.plugins.partition_plan import MOST_PARTITIONS, PartitionOptions, num_partitions
from feature_repo.plugins.partitions import (
    LabelSide,
    RowSide,
    match_partition,
    row_numbers,
    split_labels,
    split_rows,
)
from feature_repo.plugins.point_in_time import PointInTimeOfflineStoreConfig
from feature_repo.plugins.source_pieces import Piece, cut_source

WHOLE = list(range(-50, 50))
TEXT = pa.array([f"key {number}" for number in WHOLE])
BACKWARDS = TEXT.take(pa.array(range(99, -1, -1))).dictionary_encode()
DAYS = pa.array([date(2024, 1, 1) + timedelta(number) for number in WHOLE])


def _side(*keys: str) -> RowSide:
    return RowSide("v", keys, "at", None, (), None, created_cutoff=False)


def _table(**keys: pa.Array) -> pa.Table:
    """Keys, all at the same instant."""
    return pa.table({**keys, "at": pa.array([0] * len(WHOLE), pa.timestamp("us"))})


def _matched(labels: pa.Table, rows: pa.Table, keys: list[str], partitions: int) -> list[int]:
    """Row numbers that the labels see, given in two runs, of rows in two pieces."""
    runs = [labels.slice(0, 37), labels.slice(37)]
    pieces = [Piece(rows.slice(0, 61), 0, 61, 1), Piece(rows.slice(61), 61, 39, 1)]
    label_side = LabelSide(tuple((key, rows.schema.field(key).type) for key in keys), "at")
    of_labels = split_labels(label_side, partitions, *runs)
    of_rows = [split_rows(_side(*keys), partitions, piece) for piece in pieces]
    seen = [
        match_partition(_side(*keys), 1, of_labels[part], *(rows[part] for rows in of_rows))
        for part in range(partitions)
    ]
    found = [row_numbers(run.num_rows, *parts) for run, *parts in zip(runs, *seen, strict=True)]
    numbers: list[int] = np.concatenate(found).tolist()
    return numbers


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        (TEXT, TEXT.cast(pa.large_string())),
        (TEXT.cast(pa.string_view()), TEXT),
        (TEXT.dictionary_encode(), TEXT),
        (BACKWARDS, TEXT.dictionary_encode()),
        (pa.array(WHOLE, pa.int64()), pa.array(WHOLE, pa.int8())),
        (pa.array(WHOLE, pa.float64()), pa.array(WHOLE, pa.int32())),
        (pa.array(WHOLE, pa.int16()), pa.array(WHOLE, pa.float64())),
        (pa.array(WHOLE, pa.int64()), pa.array(WHOLE, pa.float32())),
        (pa.array(WHOLE, pa.int64()).cast(pa.int32()).dictionary_encode(), pa.array(WHOLE)),
        (DAYS, DAYS.cast(pa.timestamp("us"))),
        (DAYS.cast(pa.timestamp("ns")), DAYS.cast(pa.timestamp("s"))),
        (TEXT.cast(pa.binary()), TEXT.cast(pa.large_binary())),
        (pa.array([Decimal(n) for n in WHOLE]), pa.array([Decimal(n) for n in WHOLE])),
    ],
    ids=lambda side: str(side.type),
)
def test_keys_of_equal_value_meet_whatever_their_type(labels: pa.Array, rows: pa.Array) -> None:
    expected = list(range(100))[:: -1 if labels is BACKWARDS else 1]
    for partitions in (1, 2, 13):
        assert _matched(_table(k=labels), _table(k=rows), ["k"], partitions) == expected


def test_composite_keys_meet_and_nulls_do_not() -> None:
    text = pa.array([None, *TEXT.to_pylist()[1:]])
    labels = _table(a=text, b=pa.array(WHOLE, pa.int64()))
    rows = _table(a=TEXT, b=pa.array([*WHOLE[:-1], None], pa.int32()))
    for partitions in (1, 2, 13):
        found = _matched(labels, rows, ["a", "b"], partitions)
        assert found == [-1, *range(1, 99), -1]


def test_partitions_share_the_work() -> None:
    piece = Piece(_table(k=pa.array(WHOLE)), 0, len(WHOLE), 1)
    sizes = [rows.join.num_rows for rows in split_rows(_side("k"), 4, piece)]
    assert sum(sizes) == len(WHOLE)
    assert min(sizes) > 10


def test_pieces_are_runs_of_row_groups_over_files(tmp_path: Path) -> None:
    table = pa.table({"a": range(1000), "b": ["x" * 50] * 1000})
    pq.write_table(table.slice(0, 600), tmp_path / "0.parquet", row_group_size=100)
    pq.write_table(table.slice(600), tmp_path / "1.parquet", row_group_size=100)
    dataset = pads.dataset(tmp_path, format="parquet")
    one = cut_source(dataset, ["a"], 1)
    size = one[0].num_bytes
    for pieces, rows in [
        (one, [100] * 10),
        (cut_source(dataset, ["a"], 4 * size), [400, 400, 200]),
        (cut_source(dataset, ["a"], 10**9), [1000]),
        (cut_source(pads.dataset(table), ["a"], 1), [1000]),
    ]:
        assert [piece.num_rows for piece in pieces] == rows
        assert [piece.first_row for piece in pieces] == np.cumsum([0, *rows[:-1]]).tolist()
        read = pa.concat_tables([piece.read(["a"]) for piece in pieces])
        assert read.column("a").to_pylist() == list(range(1000))


def test_a_source_without_rows_is_one_piece(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int32())}), tmp_path / "0.parquet")
    (piece,) = cut_source(pads.dataset(tmp_path, format="parquet"), ["a"], 1)
    assert piece.read(["a"]).schema.field("a").type == pa.int32()


def test_a_file_that_is_replaced_while_it_is_joined_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    (piece,) = cut_source(pads.dataset(path, format="parquet"), ["a"], 1)
    pq.write_table(pa.table({"a": [2, 1]}), path)
    with pytest.raises(ValueError, match="were written while they were being joined"):
        piece.read(["a"])


def test_partitions_follow_the_size_unless_they_are_set() -> None:
    piece = Piece(pa.table({}), 0, 1, 50 * 10**6)
    rule = PartitionOptions(None, None, None, None, created_cutoff=False)
    assert num_partitions(_side("k"), [piece], rule, num_cpus=8) == 1
    assert num_partitions(_side("k"), [piece] * 2, rule, num_cpus=8) == 8
    assert num_partitions(_side("k"), [piece] * 100, rule, num_cpus=8) == 20
    assert num_partitions(_side("k"), [piece] * 10_000, rule, num_cpus=8) == MOST_PARTITIONS
    assert num_partitions(_side("k"), [piece], replace(rule, partitions=7), num_cpus=8) == 7
    small = replace(rule, memory_bytes=80 * 10**6)
    assert num_partitions(_side("k"), [piece] * 10, small, num_cpus=1) == 50
    assert num_partitions(_side(), [piece] * 100, replace(rule, partitions=7), num_cpus=8) == 1


@pytest.mark.parametrize(("rows", "runs"), [(0, [0]), (7, [3, 3, 1]), (6, [3, 3])])
def test_entity_frames_come_in_runs(rows: int, runs: list[int]) -> None:
    table = pa.table({"n": range(rows), "event_timestamp": pa.nulls(rows, pa.timestamp("us"))})
    sql = f"SELECT range AS n, NULL::TIMESTAMP AS event_timestamp FROM range({rows})"
    for asked in (table, table.to_pandas(), sql):
        frames: list[EntityFrame] = list(read_entity_runs(asked, duckdb.connect, 3))
        assert [frame.table.num_rows for frame in frames] == runs
        assert [n for frame in frames for n in frame.table.column("n").to_pylist()] == [
            *range(rows)
        ]


def test_the_engine_is_one_that_fits_the_address() -> None:
    PointInTimeOfflineStoreConfig(engine="ray", ray_address="auto")
    with pytest.raises(ValidationError, match="engine is 'disk', but ray_address is set"):
        PointInTimeOfflineStoreConfig(engine="disk", ray_address="auto")


def test_workers_start_without_feast_and_a_store_without_ray() -> None:
    """Feast costs a worker seven seconds of CPU and 360 MB."""
    code = (
        "import sys, feature_repo.plugins.{} as _; "
        "sys.exit(any(name in sys.modules for name in {}))"
    )
    for module, absent in [("shards", ["feast", "ray"]), ("ray_tasks", ["feast"])]:
        done = subprocess.run([sys.executable, "-c", code.format(module, absent)], timeout=120)
        assert done.returncode == 0, module
