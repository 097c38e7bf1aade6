"""One chunk of a user's file, as the mapping says, to one chunk of a canonical table.

In: a chunk of text columns and a file rule. Out: the canonical columns; rows whose values cannot be
meant (an unlisted value, an unreadable time or number) are rejected with file and line. Bounds,
duplicates and unknown ids are left to cleaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.pipelines.adapters.mapping import (
    EPOCHS,
    LIST_COLUMNS,
    TIME_COLUMNS,
    ColumnRule,
    FileRule,
    PositiveRule,
    TimeRule,
)
from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.tables import INSTANT

HAS_OFFSET = re.compile(r"\d{2}:\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$")
LARGEST_US = 253_402_300_800_000_000  # the year 10000; a greater number is no instant
LISTS = pa.list_(pa.string())


def map_chunk(chunk: pa.Table, rule: FileRule, table: str, sink: RawSink) -> pa.Table:
    """The canonical rows of a chunk, with `source_file` and `line`."""
    for column, wanted in rule.only.items():
        chunk = chunk.filter(pc.is_in(_stripped(chunk[column]), pa.array(wanted)))
    columns: dict[str, pa.Array] = {}
    problems: dict[str, np.ndarray] = {}
    for name, column_rule in rule.columns.items():
        columns[name], wrong = _map_column(chunk, name, column_rule)
        problems[_reason(name, column_rule)] = wrong
    if table == "interactions":
        columns["timed"] = pa.repeat(rule.timed, len(chunk))
        if rule.positive:
            columns["is_positive"], wrong = _positive(chunk, columns["action"], rule.positive)
            problems[f"{rule.positive.column} is not a number"] = wrong
    if table == "edges":
        columns["timed"] = pa.repeat("valid_from" in rule.columns, len(chunk))
    columns |= {name: chunk[name].combine_chunks() for name in ("source_file", "line")}
    good = _reject(chunk, problems, table, sink)
    return pa.table(columns).filter(good)


def _reason(name: str, rule: ColumnRule) -> str:
    if rule.time or name in TIME_COLUMNS:
        return f"{name} is not a time ({rule.time.format if rule.time else 'iso'})"
    return f"{name} has a value that the mapping does not list"


def _reject(
    chunk: pa.Table, problems: Mapping[str, np.ndarray], table: str, sink: RawSink
) -> pa.Array:
    """Hand over the rows with a problem, under the first one; return which rows are good."""
    good = np.ones(len(chunk), dtype=bool)
    for reason, wrong in problems.items():
        for i in np.flatnonzero(wrong & good):
            row = chunk.slice(i, 1).to_pylist()[0]
            file, line = row.pop("source_file"), row.pop("line")
            sink.reject(table, reason, file, line, row)
        good &= ~wrong
    return pa.array(good)


def _map_column(chunk: pa.Table, name: str, rule: ColumnRule) -> tuple[pa.Array, np.ndarray]:
    """The canonical values, and which rows have one that cannot be meant."""
    fine = np.zeros(len(chunk), dtype=bool)
    if rule.column is None:
        values: pa.Array = pa.repeat(pa.scalar(rule.constant, pa.string()), len(chunk))
    else:
        values = chunk[rule.column].combine_chunks()
    if name in TIME_COLUMNS:
        return read_instants(values, rule.time or TimeRule())
    if name in LIST_COLUMNS:
        return _split(values, rule), fine
    text = _stripped(values)
    if rule.decimal == ",":
        text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
    return _translate(text, rule) if rule.values else (text, fine)


def _stripped(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Text without white space around it; null where nothing is left."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _translate(text: pa.Array, rule: ColumnRule) -> tuple[pa.Array, np.ndarray]:
    """The file's values as ours; empty stays empty."""
    assert rule.values is not None
    place = pc.index_in(text, pa.array(list(rule.values)))
    unlisted = pc.and_(pc.is_valid(text), pc.is_null(place))
    ours = pa.array(list(rule.values.values())).take(place)
    if rule.otherwise is not None:
        return pc.if_else(unlisted, rule.otherwise, ours), np.zeros(len(text), dtype=bool)
    return ours, unlisted.to_numpy(zero_copy_only=False)


def _split(values: pa.Array, rule: ColumnRule) -> pa.Array:
    """Lists of text; cleaning trims the members and drops empty ones."""
    if pa.types.is_list(values.type):
        return values
    if rule.separator is None:
        return pc.if_else(pc.is_valid(values), _singletons(values), pa.scalar(None, LISTS))
    return pc.split_pattern(values.cast(pa.string()), rule.separator).cast(LISTS)


def _singletons(values: pa.Array) -> pa.Array:
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, values.cast(pa.string()))


def read_instants(values: pa.Array, rule: TimeRule) -> tuple[pa.Array, np.ndarray]:
    """Instants in UTC, and which given values cannot be read; empty values stay null.

    A local time that occurs twice (clocks set back) is the earlier one; one that never occurs
    (clocks set forward) is the next that does.
    """
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        text, instants = values, _from_parquet(values, rule)
    else:
        text = _stripped(values)
        instants = _from_text(text.to_pandas(), rule)
    wrong = text.is_valid().to_numpy(zero_copy_only=False) & instants.isna().to_numpy()
    return pa.Array.from_pandas(instants.dt.as_unit("us"), type=INSTANT), wrong


def _from_parquet(values: pa.Array, rule: TimeRule) -> pd.Series:
    zone = getattr(values.type, "tz", None)
    naive = pd.Series(values.cast(pa.timestamp("us", zone)).to_pandas())
    return naive.dt.tz_convert("UTC") if zone else _localise(naive, rule.zone)


def _from_text(text: pd.Series, rule: TimeRule) -> pd.Series:
    if rule.format in EPOCHS:
        us = pd.to_numeric(text, errors="coerce").astype("float64") * EPOCHS[rule.format]
        us = us.where(us.abs() < LARGEST_US)
        whole = us.round().astype("Int64").to_numpy(dtype="int64", na_value=pd.NaT.value)
        return pd.Series(whole.view("datetime64[us]")).dt.tz_localize("UTC")
    if rule.format != "iso":
        if "%z" in rule.format:
            return pd.to_datetime(text, format=rule.format, errors="coerce", utc=True)
        return _localise(pd.to_datetime(text, format=rule.format, errors="coerce"), rule.zone)
    aware = text.str.contains(HAS_OFFSET, na=False)
    with_offset = pd.to_datetime(text.where(aware), format="ISO8601", errors="coerce", utc=True)
    without = pd.to_datetime(text.where(~aware), format="ISO8601", errors="coerce")
    instants: pd.Series = with_offset.where(aware, _localise(without, rule.zone))
    return instants


def _localise(naive: pd.Series, zone: str) -> pd.Series:
    local = naive.dt.tz_localize(
        zone, ambiguous=np.ones(len(naive), dtype=bool), nonexistent="shift_forward"
    )
    instants: pd.Series = local.dt.tz_convert("UTC")
    return instants


def _positive(chunk: pa.Table, action: pa.Array, rule: PositiveRule) -> tuple[pa.Array, np.ndarray]:
    positive = np.zeros(len(chunk), dtype=bool)
    wrong = np.zeros(len(chunk), dtype=bool)
    if rule.actions:
        chosen = pc.is_in(action, pa.array(rule.actions))
        positive |= chosen.to_numpy(zero_copy_only=False)
    if rule.column:
        text = _stripped(chunk[rule.column]).to_pandas()
        number = pd.to_numeric(text, errors="coerce")
        positive |= (number >= rule.at_least).to_numpy()
        wrong = (text.notna() & number.isna()).to_numpy()
    return pa.array(positive), wrong
