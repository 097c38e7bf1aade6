"""The benchmark itself: what it writes, and that a wrong contestant does not pass for fast."""

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tests.benchmarks import point_in_time
from tests.benchmarks.joins.answers import judge_pointers, judge_rows, write_answers
from tests.benchmarks.joins.contestants import Contestant
from tests.benchmarks.joins.data import KEY, TIME, Integers, JoinData, JoinSize, write_data
from tests.benchmarks.joins.hand_written import duckdb_pointers, duckdb_row_numbers, duckdb_rows
from tests.benchmarks.joins.page import DOCS, page, read_reports

SIZE = JoinSize(labels=300, rows=200, keys=5, views=2)


def _newest_of_all(data: JoinData) -> Any:
    def join() -> dict[str, Integers]:
        newest = {}
        for view in data.views:
            rows = duckdb.sql(
                f"SELECT l.n, f.row FROM (SELECT {KEY}, file_row_number AS n "
                f"FROM read_parquet('{data.label_path}', file_row_number = true)) l JOIN "
                f"(SELECT {KEY}, max(file_row_number) AS row FROM "
                f"read_parquet('{data.path(view)}', file_row_number = true) GROUP BY {KEY}) f "
                f"USING ({KEY}) ORDER BY l.n"
            ).to_arrow_table()
            newest[view] = rows.column("row").to_numpy()
        return newest

    return join


LEAKING = Contestant("the newest row, past or future", "pointers", _newest_of_all, lambda _, it: it)


def _never_ready(_: JoinData) -> Any:
    raise OSError("no such cluster")


BROKEN = Contestant("never ready", "rows", _never_ready, lambda _, it: it)


WARM_UP = 100  # labels of the first, small join, which may come to its end


def _never_done(data: JoinData) -> Any:
    return lambda: time.sleep(600 if data.size.labels > WARM_UP else 0)


SLOW = Contestant("never done", "rows", _never_done, lambda _, it: it)


def _never_enough(data: JoinData) -> Any:
    def join() -> None:
        kept = []
        while data.size.labels > WARM_UP:
            kept.append(np.ones(10_000_000))
            time.sleep(0.02)

    return join


GREEDY = Contestant("never enough", "rows", _never_enough, lambda _, it: it)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> JoinData:
    written = write_data(tmp_path_factory.mktemp("joins"), SIZE)
    write_answers(written)
    return written


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("race")
    also = ",".join(f"{__name__}:{name}" for name in ("LEAKING", "BROKEN", "SLOW", "GREEDY"))
    point_in_time.main(
        f"--labels 3e2 --rows 200 --keys 5 --views 2 --repeat 1 --timeout-s 10 --memory-gb 1 "
        f"--only polars_pointers,duckdb_rows --also {also} "
        f"--json {folder}/out.json --folder {folder}".split()
    )
    assert [path.name for path in folder.iterdir()] == ["out.json"]  # the data is gone
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return found


def test_figures_and_checksums(report: dict[str, Any]) -> None:
    records = report["contestants"]
    for name in ("polars_pointers", "duckdb_rows"):
        record = records[name]
        assert (record["outcome"], record["rows"]) == ("right", 300)
        assert record["checksum"] == record["expected_checksum"]
        assert record["wall_s"]["median"] > 0
        assert record["peak_bytes"]["median"] > record["above_baseline_bytes"]["median"] >= 0
    assert set(report["ratios"]) >= {"feast_duckdb", "best_hand_written", "memory_feast_duckdb"}
    assert report["ratios"]["feast_duckdb"] is None  # neither side of it ran
    assert report["machine"]["versions"]["duckdb"] == duckdb.__version__


def test_a_wrong_contestant_is_said_to_be_wrong(report: dict[str, Any]) -> None:
    record = report["contestants"][f"{__name__}:LEAKING"]
    assert record["outcome"] == f"wrong: {record['values_differ']:,} values differ"
    assert record["values_differ"] > 300


def test_one_that_breaks_is_recorded(report: dict[str, Any]) -> None:
    record = report["contestants"][f"{__name__}:BROKEN"]
    assert record["outcome"] == "failed: OSError: no such cluster"
    assert "wall_s" not in record


def test_one_that_passes_a_limit_is_ended_and_recorded(report: dict[str, Any]) -> None:
    slow, greedy = (report["contestants"][f"{__name__}:{name}"] for name in ("SLOW", "GREEDY"))
    assert slow["outcome"] == "out of time (limit 10 s)"
    assert slow["wall_s_at_least"] >= 10
    assert greedy["outcome"] == "out of memory (limit 1 GB)"
    assert greedy["peak_bytes_at_least"] > 1e9


def test_the_page_shows_every_contestant(report: dict[str, Any]) -> None:
    text = page({"tiny": report})
    assert "## 300 labels, 2 view(s) of 200 rows" in text
    for record in report["contestants"].values():
        assert record["outcome"] in text


def test_a_value_changed_by_hand_is_found(data: JoinData) -> None:
    pointers = duckdb_row_numbers(data, duckdb_pointers(data)())
    assert judge_pointers(data, pointers).outcome == "right"
    pointers["view_1"][7] += 1
    assert judge_pointers(data, pointers).outcome == "wrong: 1 values differ"


def test_rows_lost_added_and_changed_are_counted(data: JoinData) -> None:
    table = duckdb_rows(data)()
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    assert judge_rows(data, shuffled).outcome == "right"
    assert judge_rows(data, table.slice(3)).outcome == "wrong: 3 rows lost"
    twice = pa.concat_tables([table, table.slice(0, 2)])
    assert judge_rows(data, twice).outcome == "wrong: 2 rows added"
    place = table.column_names.index("view_1_f0")
    nulls = pa.nulls(table.num_rows, pa.float64())
    had = table.num_rows - table.column(place).null_count
    emptied = table.set_column(place, "view_1_f0", nulls)
    assert judge_rows(data, emptied).outcome == f"wrong: {had:,} values differ"


def test_instants_cut_to_seconds_are_named(data: JoinData) -> None:
    table = duckdb_rows(data)()
    place = table.column_names.index(TIME)
    seconds = table.column(TIME).cast(pa.timestamp("s", "UTC"), safe=False)
    verdict = judge_rows(data, table.set_column(place, TIME, seconds))
    assert verdict.outcome == "wrong: instants cut to whole seconds"


def test_equal_sizes_are_equal_data(data: JoinData, tmp_path: Path) -> None:
    again = write_data(tmp_path, SIZE)
    assert again.labels().equals(data.labels())


def test_the_published_page_is_fresh() -> None:
    reports = read_reports(DOCS / "point_in_time")
    if not reports:
        pytest.skip("no figures in docs/point_in_time yet")
    text = (DOCS / "point_in_time.md").read_text(encoding="utf-8")
    assert text == page(reports), "run `python -m tests.benchmarks.joins.page`"
