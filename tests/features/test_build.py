"""The whole build: partitions equal the whole, no future changes the past, no rows, no rows."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.features.build import build_table_features, view_functions
from feature_repo.pipelines.features.engine import belongs, connect, whole_keys
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.schemas import SCHEMAS
from feature_repo.pipelines.tables import DataError, feature_path
from tests.features.worlds import DAY_US, Row, World, instant, link, micros, random_world

OPTIONS = FeatureOptions(threads=1)


def ordered(tables: Iterator[pa.Table], view: str) -> pa.Table:
    table = pa.concat_tables([SCHEMAS[view].empty_table(), *tables])
    return table.sort_by([(table.column_names[0], "ascending"), ("event_timestamp", "ascending")])


def test_partitions_together_are_the_whole(tmp_path: Path) -> None:
    random_world(7).write(tmp_path)
    with connect(tmp_path, OPTIONS) as connection:
        for view, rows_of in view_functions(OPTIONS).items():
            whole = ordered(rows_of(connection, None), view)
            parts = [list(rows_of(connection, (i, 3))) for i in range(3)]
            assert whole.num_rows > 0
            assert ordered((t for part in parts for t in part), view).equals(whole), view


def test_a_partition_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="partition 3 of 3"):
        belongs("user_id", (3, 3))


def test_the_future_changes_nothing_of_the_past(tmp_path: Path) -> None:
    world = random_world(8)
    cut = sorted(micros(row["timestamp"]) for row in world.interactions)[150]  # type: ignore[arg-type]
    for name, each in {"real": world, "other": with_another_future(world, cut)}.items():
        build_table_features(each.write(tmp_path / name), OPTIONS)
    limit = pa.scalar(instant(cut), type=pa.timestamp("us", tz="UTC"))
    for view in SCHEMAS:
        real, other = (
            pq.read_table(feature_path(tmp_path / name, view), filters=known(limit))
            for name in ("real", "other")
        )
        assert real.num_rows > 0
        assert real.equals(other), view
    history = [pq.read_table(feature_path(tmp_path / n, "user_history")) for n in ("real", "other")]
    assert not history[0].equals(history[1]), "the other future was to differ"


def known(limit: pa.Scalar) -> list[tuple[str, str, object]]:
    return [("event_timestamp", "<=", limit.as_py())]


def with_another_future(world: World, cut: int) -> World:
    """Later events happen to other people, with other items, values and times; links form anew."""
    random = np.random.default_rng(99)
    users, items = [f"u{i}" for i in range(9)], [str(row["item_id"]) for row in world.items]

    def other(row: Row) -> Row:
        changed = {
            "user_id": str(random.choice(users)),
            "item_id": str(random.choice(items)),
            "value": 5.0,
            "timestamp": instant(cut + 1 + int(random.integers(200 * DAY_US))),
        }
        return {**row, **changed} if micros(row["timestamp"]) > cut else row  # type: ignore[arg-type]

    past = [row for row in world.edges if micros(row["valid_from"]) <= cut]  # type: ignore[arg-type]
    later = [{**link(users, cut + 1 + n * DAY_US, random), "timed": True} for n in range(10)]
    later = [{**row, "valid_from": instant(cut + 1 + DAY_US)} for row in later]
    return World(world.items, [other(row) for row in world.interactions], past + later)


def test_empty_tables_give_empty_views(tmp_path: Path) -> None:
    World([], [], []).write(tmp_path)
    figures = build_table_features(tmp_path, OPTIONS)
    assert {view: rows for view, (rows, _) in figures.items()} == dict.fromkeys(SCHEMAS, 0)
    for view, schema in SCHEMAS.items():
        assert pq.read_schema(feature_path(tmp_path, view)).equals(schema)


def test_two_builds_write_the_same_bytes(tmp_path: Path) -> None:
    for name, threads in {"one": 1, "two": 2}.items():
        data_dir = random_world(9).write(tmp_path / name)
        build_table_features(data_dir, FeatureOptions(threads=threads))
    for view in SCHEMAS:
        one, two = (feature_path(tmp_path / name, view).read_bytes() for name in ("one", "two"))
        assert one == two, view
    assert [path.name for path in tmp_path.glob("*/.duckdb-*")] == []


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"'interactions'.*feature_repo\.pipelines\.build"),
        connect(tmp_path, OPTIONS),
    ):
        pass


@pytest.mark.parametrize("num_keys", [1, 3, 4000])
def test_chunks_hold_whole_keys(num_keys: int) -> None:
    with duckdb.connect() as connection:
        key = f"(i * {num_keys} // 20000)::VARCHAR AS key"
        sql = f"SELECT {key}, i FROM range(20000) numbers(i) ORDER BY i"
        chunks = list(whole_keys(connection, sql, "key", chunk_rows=2048))
    assert pa.concat_tables(chunks)["i"].to_pylist() == list(range(20000))
    keys = [set(chunk["key"].to_pylist()) for chunk in chunks]
    assert sum(map(len, keys)) == num_keys == len(set().union(*keys))
    assert len(chunks) >= {1: 1, 3: 3, 4000: 10}[num_keys]
