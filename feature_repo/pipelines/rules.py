"""What a sound row is: the types, bounds and checks of each canonical table, as DuckDB SQL.

clean.py runs these; this page only states them. A rejection sets a row aside with a reason; a
repair removes one impossible attribute (a price, a date of birth of an item) and keeps the row,
since losing an item for its price would lose all its events.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from feature_repo.pipelines.raw import RawInfo
from feature_repo.pipelines.tables import SCHEMAS

REPAIRED = " (value removed, row kept)"
EDGE_KINDS = ("friend", "follow")

# What tells two rows of a table apart. The ids of events and documents come from the source or,
# failing that, are hashes of what they say, so these also catch the same event logged twice.
KEYS = {
    "users": ("user_id",),
    "items": ("item_id",),
    "interactions": ("event_id",),
    "edges": ("source_id", "target_id", "kind"),
    "documents": ("document_id",),
}
DUPLICATE = {
    "users": "duplicate user_id",
    "items": "duplicate item_id",
    "interactions": "duplicate event",
    "edges": "duplicate link",
    "documents": "duplicate document",
}
# Values for rows whose source has no such column or leaves it empty.
DEFAULTS = {"is_positive": "true", "timed": "true"}


class Rule(NamedTuple):
    """A condition over the typed columns and the raw row `r`, and the reason it stands for."""

    condition: str
    reason: str


def column_sql(name: str, to: pa.DataType, staged: Mapping[str, str]) -> str:
    """SQL for a canonical column from the raw row `r`; null where the value cannot be read.

    `staged` maps the raw columns to their DuckDB types.
    """
    if name not in staged:
        return DEFAULTS.get(name, "NULL")
    raw, raw_type = f"r.{name}", staged[name]
    if pa.types.is_string(to):
        return text_sql(raw)
    if pa.types.is_floating(to):
        return f"CASE WHEN isfinite(TRY_CAST({raw} AS DOUBLE)) THEN TRY_CAST({raw} AS DOUBLE) END"
    if pa.types.is_boolean(to):
        return f"coalesce(TRY_CAST({text_sql(raw)} AS BOOLEAN), {DEFAULTS[name]})"
    if pa.types.is_list(to):
        return _list_sql(raw, raw_type)
    return _instant_sql(raw, raw_type)


def text_sql(raw: str) -> str:
    """SQL for text without the white space around it; null where nothing is left."""
    return f"nullif(trim(CAST({raw} AS VARCHAR), E' \\t\\r\\n'), '')"


def _list_sql(raw: str, raw_type: str) -> str:
    if not raw_type.endswith("[]"):
        return f"CASE WHEN {text_sql(raw)} IS NULL THEN [] ELSE [{text_sql(raw)}] END"
    texts = f"list_transform(CAST({raw} AS VARCHAR[]), lambda x: {text_sql('x')})"
    return f"coalesce(list_filter({texts}, lambda x: x IS NOT NULL), [])"


def _instant_sql(raw: str, raw_type: str) -> str:
    if raw_type == "VARCHAR" or raw_type.startswith(("TIMESTAMP", "DATE")):
        instant = f"TRY_CAST({text_sql(raw) if raw_type == 'VARCHAR' else raw} AS TIMESTAMPTZ)"
        return f"CASE WHEN isfinite({instant}) THEN {instant} END"
    # A number is seconds since 1970. One beyond the year 5000 is milliseconds by mistake.
    return f"CASE WHEN abs({raw}) < 1e11 THEN to_timestamp(CAST({raw} AS DOUBLE)) END"


def rejections(table: str, staged: Mapping[str, str], info: RawInfo) -> list[Rule]:
    """The checks that set a row of `table` aside, in the order in which they are tried."""
    required = {
        "users": ["user_id"],
        "items": ["item_id"],
        "interactions": ["user_id", "item_id", "action"],
        "edges": ["source_id", "target_id", "kind"],
        "documents": ["kind", "text"],
    }[table]
    rules = [Rule(f"{column} IS NULL", f"{column} is missing") for column in required]
    if table == "interactions":
        rules += [*_time_rules("timestamp", staged, info), *_value_rules(staged, info)]
        rules.append(Rule("timestamp IS NULL", "timestamp is missing"))
    if table == "edges":
        rules += _time_rules("valid_from", staged, info)
        kinds = ", ".join(f"'{kind}'" for kind in EDGE_KINDS)
        rules.append(Rule(f"kind NOT IN ({kinds})", f"kind is none of {', '.join(EDGE_KINDS)}"))
        rules.append(Rule("source_id = target_id", "link of a user to itself"))
    if table == "documents":
        rules += _time_rules("timestamp", staged, info)
        rules.append(Rule("user_id IS NULL AND item_id IS NULL", "neither user nor item"))
        rules.append(Rule("timestamp IS NULL AND item_id IS NULL", "timestamp is missing"))
    for column in ("is_positive", "timed"):
        if column in SCHEMAS[table].names and column in staged:
            text = text_sql(f"r.{column}")
            unreadable = f"{text} IS NOT NULL AND TRY_CAST({text} AS BOOLEAN) IS NULL"
            rules.append(Rule(unreadable, f"{column} is neither true nor false"))
    return rules


def repairs(table: str, staged: Mapping[str, str], info: RawInfo) -> dict[str, list[Rule]]:
    """The checks that remove an attribute's value, by column."""
    if table == "users":
        return {"joined_at": _time_rules("joined_at", staged, info)}
    if table == "items":
        too_late = [
            rule
            for rule in _time_rules("available_at", staged, info)
            if not rule.reason.endswith("too early")  # old books exist; see EARLIEST in clean.py
        ]
        negative = Rule("price < 0", "price is negative")
        return {"price": [_unreadable("price", staged), negative], "available_at": too_late}
    return {}


def unknown_id_rules(table: str, known: set[str]) -> list[Rule]:
    """References to users and items that are not in their tables, where such tables were given."""
    references = {
        "interactions": {"user_id": "user", "item_id": "item"},
        "edges": {"source_id": "user", "target_id": "user"},
        "documents": {"user_id": "user", "item_id": "item"},
    }.get(table, {})
    return [
        Rule(
            f"{column} IS NOT NULL AND {column} NOT IN (SELECT {what}_id FROM known_{what}s)",
            f"unknown {what}",
        )
        for column, what in references.items()
        if f"{what}s" in known
    ]


def _unreadable(column: str, staged: Mapping[str, str]) -> Rule:
    if column not in staged:
        return Rule("false", "")
    kind = "number" if column in {"price", "value"} else "time"
    given = text_sql(f"r.{column}")
    if staged[column] in {"DOUBLE", "FLOAT"}:  # pandas writes a missing number as NaN
        given = f"nullif(r.{column}, 'nan')"
    return Rule(f"{given} IS NOT NULL AND {column} IS NULL", f"{column} is not a {kind}")


def _time_rules(column: str, staged: Mapping[str, str], info: RawInfo) -> list[Rule]:
    """Unreadable, before the source's floor, or after its snapshot; `snapshot_at` must be set."""
    assert info.snapshot_at is not None
    floor, snapshot = info.floor_at.isoformat(), info.snapshot_at.isoformat()
    return [
        _unreadable(column, staged),
        Rule(f"{column} < TIMESTAMPTZ '{floor}'", f"{column} is too early"),
        Rule(f"{column} > TIMESTAMPTZ '{snapshot}'", f"{column} is after the snapshot"),
    ]


def _value_rules(staged: Mapping[str, str], info: RawInfo) -> list[Rule]:
    rules = [_unreadable("value", staged)]
    for action, (low, high) in sorted(info.value_bounds.items()):
        name = action.replace("'", "''")
        rules.append(
            Rule(
                f"action = '{name}' AND value NOT BETWEEN {low!r} AND {high!r}",
                f"value of {action} is outside {low:g} to {high:g}",
            )
        )
    return rules
