"""What the benchmark can be asked: the race, growth with size, a wide view, the big join.

Each takes a JoinSize, Limits and a folder for the data, and returns what goes into the JSON.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.joins.answers import write_answers
from tests.benchmarks.joins.data import JoinData, JoinSize, write_data
from tests.benchmarks.joins.race import Limits, Record, at_least, least, median, race, ratio

Say = Callable[[str], None]


def run_race(
    size: JoinSize, limits: Limits, folder: Path, names: Sequence[str], say: Say
) -> dict[str, Any]:
    """Every contestant on the same data."""
    with _written(size, folder, say) as data:
        records = race([(name, name, data) for name in names], limits, say)
    return {"contestants": records, "ratios": race_ratios(records)}


def race_ratios(records: dict[str, Record]) -> dict[str, float | None]:
    """Of medians; None where a contestant that it needs did not run or did not come to its end."""

    def of(name: str, figure: str = "wall_s") -> float | None:
        return median(records[name], figure) if name in records else None

    def hand_written(form: str) -> float | None:
        return ratio(of(f"potluck_{form}"), least([of(f"duckdb_{form}"), of(f"polars_{form}")]))

    ours, theirs = "potluck_rows_pandas", "feast_duckdb"
    return {
        # Theirs over ours: above 1 we are better.
        "feast_duckdb": ratio(of(theirs), of(ours)),
        "feast_duckdb_at_least": ratio(at_least(records.get(theirs, {})), of(ours)),
        "memory_feast_duckdb": ratio(
            of(theirs, "above_baseline_bytes"), of(ours, "above_baseline_bytes")
        ),
        "memory_feast_duckdb_whole_process": ratio(
            of(theirs, "peak_bytes"), of(ours, "peak_bytes")
        ),
        # Ours over the better of theirs: below 1 we are better.
        "best_hand_written": hand_written("pointers"),
        "best_hand_written_rows": hand_written("rows"),
    }


def run_scaling(
    size: JoinSize, limits: Limits, folder: Path, sizes: Sequence[int], say: Say
) -> dict[str, Any]:
    """Ours at growing numbers of labels, twice: with as many rows, and with rows held fixed.

    Rows a key stay the same throughout, and so do the views.
    """
    points = []
    for series in ("rows = labels", "rows fixed"):
        for num_labels in sizes:
            num_rows = num_labels if series == "rows = labels" else size.rows
            keys = max(1, num_rows * size.keys // size.rows)
            changed = {"labels": num_labels, "rows": num_rows, "keys": keys}
            one = JoinSize.model_validate({**size.model_dump(), **changed})
            say(f"{series}: {num_labels:,} labels, {num_rows:,} rows")
            with _written(one, folder, say) as data:
                names = ("potluck_pointers", "potluck_rows")
                records = race([(name, name, data) for name in names], limits, say)
            points.append({"series": series, "size": one.model_dump(), "contestants": records})
    return {"points": points, "ratios": _growth(points, sizes)}


def sort_work(labels: int, rows: int) -> float:
    """n log n of a join: each row is sorted among the rows, each label found among them."""
    return (labels + rows) * math.log2(rows)


def run_wide(size: JoinSize, limits: Limits, folder: Path, say: Say) -> dict[str, Any]:
    """Our pointer join with one more view: none, a narrow one, the wide one in its place."""
    one_more = size.model_copy(update={"views": size.views + 1})
    with _written(one_more, folder, say, views=[*one_more.view_names, "wide"]) as data:
        names = tuple(size.view_names)
        choices = {
            "without": (f"{size.views} narrow views", names),
            "with_narrow": ("one narrow view more", tuple(one_more.view_names)),
            "with_wide": (f"a view {size.wide} wide more", (*names, "wide")),
        }
        entries = [
            (name, "potluck_pointers", data.model_copy(update={"views": views}))
            for name, (_, views) in choices.items()
        ]
        records = race(entries, limits, say)
        for name, (title, _) in choices.items():
            records[name]["title"] = title
    wide = median(records["with_wide"], "wall_s")
    return {
        "contestants": records,
        "ratios": {
            "wide_embedding": ratio(wide, median(records["with_narrow"], "wall_s")),
            "wide_embedding_against_no_view": ratio(wide, median(records["without"], "wall_s")),
        },
    }


def run_big(size: JoinSize, limits: Limits, folder: Path, say: Say) -> dict[str, Any]:
    """Pointers for labels that the store reads itself, by SQL over Parquet."""
    with _written(size, folder, say, answered=False) as data:
        name = "potluck_pointers_sql"
        records = race([(name, name, data)], limits, say, sampled=True)
    return {"contestants": records, "ratios": {}}


def _growth(points: Sequence[dict[str, Any]], sizes: Sequence[int]) -> dict[str, float | None]:
    """Seconds at the largest over seconds at the smallest size, for each unit of n log n."""

    def cost(point: dict[str, Any], name: str) -> float | None:
        work = sort_work(point["size"]["labels"], point["size"]["rows"])
        return ratio(median(point["contestants"][name], "wall_s"), work)

    first, last = points[0], points[len(sizes) - 1]
    return {
        f"{name}_per_n_log_n": ratio(cost(last, name), cost(first, name))
        for name in ("potluck_pointers", "potluck_rows")
    }


@contextmanager
def _written(
    size: JoinSize,
    folder: Path,
    say: Say,
    views: Sequence[str] | None = None,
    answered: bool = True,
) -> Iterator[JoinData]:
    """The data on disk, removed afterwards."""
    here = Path(tempfile.mkdtemp(dir=folder, prefix="joins_"))
    try:
        say(f"writing {size.labels:,} labels and {size.views} x {size.rows:,} rows")
        data = write_data(here, size)
        if views:
            data = data.model_copy(update={"views": tuple(views)})
        if answered:
            say("finding the right answer, and checking it against the oracle")
            write_answers(data)
        yield data
    finally:
        shutil.rmtree(here)
