"""Who runs: a function that gets everything ready, and then returns the join to be timed.

In: JoinData. Ready means: modules imported, the store open, labels in memory in the form that the
contestant likes best. Timed: from there to the result, each view's Parquet read within. A further
contestant is a `Contestant` in any module, named to the benchmark as `module:name`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from tests.benchmarks.joins import feast_stores, hand_written
from tests.benchmarks.joins.data import JoinData

Join = Callable[[], Any]


@dataclass(frozen=True)
class Contestant:
    """One way to do the join."""

    title: str
    form: Literal["pointers", "rows"]
    """Row numbers of the matches, or a table with all features."""
    prepare: Callable[[JoinData], Join]
    read: Callable[[JoinData, Any], Any]
    """The result, as row numbers a view in the labels' order or as Arrow. Not timed."""


def _as_it_is(_: JoinData, result: Any) -> Any:
    return result


CONTESTANTS: Mapping[str, Contestant] = {
    "potluck_pointers": Contestant(
        "this store, pointers", "pointers", feast_stores.potluck_pointers, feast_stores.row_numbers
    ),
    "duckdb_pointers": Contestant(
        "DuckDB by hand, pointers",
        "pointers",
        hand_written.duckdb_pointers,
        hand_written.duckdb_row_numbers,
    ),
    "polars_pointers": Contestant(
        "polars by hand, pointers",
        "pointers",
        hand_written.polars_pointers,
        hand_written.polars_row_numbers,
    ),
    "potluck_rows": Contestant("this store, rows", "rows", feast_stores.potluck_rows, _as_it_is),
    "potluck_rows_pandas": Contestant(
        "this store, rows, labels in pandas", "rows", feast_stores.potluck_rows_pandas, _as_it_is
    ),
    "duckdb_rows": Contestant("DuckDB by hand, rows", "rows", hand_written.duckdb_rows, _as_it_is),
    "polars_rows": Contestant(
        "polars by hand, rows", "rows", hand_written.polars_rows, hand_written.polars_table
    ),
    "feast_duckdb": Contestant(
        "Feast's DuckDB store, rows", "rows", feast_stores.feast_duckdb, _as_it_is
    ),
    "feast_file": Contestant(
        "Feast's file store, rows", "rows", feast_stores.feast_file, _as_it_is
    ),
    "feast_ray": Contestant("Feast's Ray store, rows", "rows", feast_stores.feast_ray, _as_it_is),
}

# Not in the race of all: labels that do not fit twice are named by SQL.
FURTHER: Mapping[str, Contestant] = {
    "potluck_pointers_sql": Contestant(
        "this store, pointers, labels as SQL",
        "pointers",
        feast_stores.potluck_pointers_sql,
        feast_stores.row_numbers,
    ),
}


def find(name: str) -> Contestant:
    """A contestant by its name here, or by `module:name`."""
    if ":" in name:
        module, attribute = name.split(":", 1)
        found = getattr(import_module(module), attribute)
        assert isinstance(found, Contestant)
        return found
    known = {**CONTESTANTS, **FURTHER}
    if name not in known:
        raise ValueError(f"no contestant '{name}' (has: {', '.join(known)}, or module:name)")
    return known[name]
