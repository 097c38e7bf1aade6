"""Cleaning: every check on rows made to fail it, every policy, and the accounts of all rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.pipelines.tables import SCHEMAS, DataError, table_path
from tests.pipelines.raw_rows import (
    SNAPSHOT_AT,
    Row,
    clean_rows,
    day,
    event,
    reasons,
    table_rows,
)

GOOD = event("u1", "i1", day(5))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (event(None, "i1", day(1)), "user_id is missing"),
        (event("  ", "i1", day(1)), "user_id is missing"),
        (event("u1", None, day(1)), "item_id is missing"),
        (event("u1", "i1", day(1), action=None), "action is missing"),
        (event("u1", "i1", None), "timestamp is missing"),
        (event("u1", "i1", datetime(1969, 12, 31, tzinfo=UTC)), "timestamp is too early"),
        (event("u1", "i1", SNAPSHOT_AT + timedelta(days=1)), "timestamp is after the snapshot"),
        (event("u1", "i1", day(1), action="rate", value=5.5), "value of rate is outside 0.5 to 5"),
        (event("u1", "i1", day(1), value=float("inf")), "value is not a number"),
        (event("u2", "i1", day(1)), "unknown user"),
        (event("u1", "i2", day(1)), "unknown item"),
        (dict(GOOD), "duplicate event"),
    ],
)
def test_an_unsound_event_is_set_aside(row: Row, reason: str, tmp_path: Path) -> None:
    tables = {
        "users": [{"user_id": "u1"}],
        "items": [{"item_id": "i1"}],
        "interactions": [GOOD, row],
    }
    counts = clean_rows(tmp_path, tables, value_bounds={"rate": (0.5, 5.0)})
    assert counts["interactions"].rejected == {reason: 1}
    assert reasons(tmp_path, "interactions") == [reason]
    assert [row["timestamp"] for row in table_rows(tmp_path, "interactions")] == [day(5)]


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("timestamp", "yesterday", "timestamp is not a time"),
        ("timestamp", "infinity", "timestamp is not a time"),
        ("value", "many", "value is not a number"),
        ("value", "inf", "value is not a number"),
        ("is_positive", "perhaps", "is_positive is neither true nor false"),
    ],
)
def test_text_that_cannot_be_read_is_set_aside(
    column: str, text: str, reason: str, tmp_path: Path
) -> None:
    good = event("u1", "i1", "2023-01-05T00:00:00Z", value="1.5", is_positive="yes")
    counts = clean_rows(tmp_path, {"interactions": [good, good | {"item_id": "i2", column: text}]})
    assert counts["interactions"].rejected == {reason: 1}
    (kept,) = table_rows(tmp_path, "interactions")
    assert (kept["timestamp"], kept["value"], kept["is_positive"]) == (day(5), 1.5, True)


def test_instants_may_be_text_with_an_offset_or_seconds(tmp_path: Path) -> None:
    seconds = int(day(3).timestamp())
    clean_rows(tmp_path / "text", {"interactions": [event("u", "i", "2023-01-03T02:00:00+02:00")]})
    clean_rows(tmp_path / "number", {"interactions": [event("u", "i", seconds)]})
    for form in ("text", "number"):
        assert table_rows(tmp_path / form, "interactions")[0]["timestamp"] == day(3)
    milliseconds = {"interactions": [event("u", "i", seconds * 1000)]}
    with pytest.raises(DataError, match="1 rows: timestamp is not a time"):
        clean_rows(tmp_path / "milli", milliseconds)


def test_not_a_number_is_how_pandas_says_missing(tmp_path: Path) -> None:
    clean_rows(tmp_path, {"interactions": [event("u", "i", day(1), value=float("nan"))]})
    assert table_rows(tmp_path, "interactions")[0]["value"] is None


def test_the_quarantine_shows_the_raw_row_and_its_place(tmp_path: Path) -> None:
    bad = event("u1", "i1", "never") | {"source_file": "events.csv", "line": 17}
    clean_rows(tmp_path, {"interactions": [event("u1", "i1", "2023-01-01"), bad]})
    (row,) = pq.read_table(tmp_path / "out/quarantine/interactions.parquet").to_pylist()
    assert (row["table"], row["source_file"], row["line"]) == ("interactions", "events.csv", 17)
    assert '"timestamp":"never"' in row["row"]


def test_of_duplicates_the_first_stays(tmp_path: Path) -> None:
    items = [{"item_id": "i1", "title": "first"}, {"item_id": "i1", "title": "second"}]
    counts = clean_rows(tmp_path, {"items": items, "interactions": [GOOD]})
    assert counts["items"].rejected == {"duplicate item_id": 1}
    assert table_rows(tmp_path, "items")[0]["title"] == "first"


def test_ids_of_the_source_tell_events_apart(tmp_path: Path) -> None:
    """Two plays in one second are two events if the source says so, and one sent twice is one."""
    sent = [GOOD | {"event_id": name} for name in ("a", "b", "a")]
    counts = clean_rows(tmp_path, {"interactions": sent})
    assert counts["interactions"].rejected == {"duplicate event": 1}
    assert [row["event_id"] for row in table_rows(tmp_path, "interactions")] == ["a", "b"]


def test_generated_ids_do_not_confuse_neighbouring_columns(tmp_path: Path) -> None:
    clean_rows(tmp_path, {"interactions": [event("a", "bc", day(1)), event("ab", "c", day(1))]})
    ids = {row["event_id"] for row in table_rows(tmp_path, "interactions")}
    assert len(ids) == 2


def test_an_impossible_attribute_goes_and_its_row_stays(tmp_path: Path) -> None:
    late = SNAPSHOT_AT + timedelta(days=9)
    items = [
        {"item_id": "i1", "price": "-3", "available_at": None},
        {"item_id": "i2", "price": "cheap", "available_at": late},
        {"item_id": "i3", "price": "4.5", "available_at": day(2)},
    ]
    counts = clean_rows(tmp_path, {"items": items, "interactions": [GOOD]})
    assert counts["items"].kept == 3
    assert counts["items"].rejected == {}
    assert counts["items"].repaired == {
        "available_at is after the snapshot (value removed, row kept)": 1,
        "price is negative (value removed, row kept)": 1,
        "price is not a number (value removed, row kept)": 1,
    }
    assert [row["price"] for row in table_rows(tmp_path, "items")] == [None, None, 4.5]


def test_available_at_is_the_earliest_sign_of_an_item(tmp_path: Path) -> None:
    items = [
        {"item_id": "given early", "available_at": day(2)},
        {"item_id": "given late", "available_at": day(20)},
        {"item_id": "never seen", "available_at": None},
        {"item_id": "described", "available_at": None},
        {"item_id": "untimed", "available_at": None},
        {"item_id": "old film", "available_at": datetime(1927, 1, 1, tzinfo=UTC)},
    ]
    events = [event("u", name, day(9)) for name in ("given early", "given late", "described")]
    untimed = event("u", "untimed", day(1), timed=False)
    text = {"item_id": "described", "kind": "title", "text": "words", "timestamp": day(7)}
    tables = {"items": items, "interactions": [*events, untimed], "documents": [text]}
    clean_rows(tmp_path, tables)
    available = {row["item_id"]: row["available_at"] for row in table_rows(tmp_path, "items")}
    assert available == {
        "given early": day(2),
        "given late": day(9),
        "never seen": day(9),  # the first event of all
        "described": day(7),
        "untimed": day(9),  # its play has no time, so it tells nothing
        "old film": datetime(1970, 1, 1, tzinfo=UTC),
    }


def test_untimed_events_lie_at_the_snapshot(tmp_path: Path) -> None:
    clean_rows(tmp_path, {"interactions": [GOOD, event("u1", "i2", None, timed=False)]})
    untimed = table_rows(tmp_path, "interactions")[-1]
    assert (untimed["timestamp"], untimed["timed"]) == (SNAPSHOT_AT, False)


def test_users_and_items_are_derived_where_the_source_has_no_such_table(tmp_path: Path) -> None:
    tables = {
        "interactions": [GOOD],
        "edges": [{"source_id": "u2", "target_id": "u3", "kind": "follow"}],
        "documents": [
            {"user_id": "u4", "item_id": "i2", "kind": "review", "text": "x", "timestamp": day(1)}
        ],
    }
    counts = clean_rows(tmp_path, tables)
    assert [row["user_id"] for row in table_rows(tmp_path, "users")] == ["u1", "u2", "u3", "u4"]
    assert [row["title"] for row in table_rows(tmp_path, "items")] == ["i1", "i2"]
    assert (counts["users"].read, counts["users"].added, counts["users"].kept) == (0, 4, 4)


def test_friendship_goes_both_ways_and_following_one(tmp_path: Path) -> None:
    edges = [
        {"source_id": "a", "target_id": "b", "kind": "friend", "valid_from": day(3)},
        {"source_id": "b", "target_id": "c", "kind": "friend", "valid_from": None},
        {"source_id": "c", "target_id": "b", "kind": "friend", "valid_from": None},
        {"source_id": "a", "target_id": "c", "kind": "follow", "valid_from": day(4)},
        {"source_id": "a", "target_id": "a", "kind": "follow", "valid_from": day(4)},
        {"source_id": "a", "target_id": "c", "kind": "enemy", "valid_from": day(4)},
    ]
    counts = clean_rows(tmp_path, {"interactions": [GOOD], "edges": edges})
    found = [tuple(row.values()) for row in table_rows(tmp_path, "edges")]
    beginning = datetime(1970, 1, 1, tzinfo=UTC)
    assert found == [
        ("a", "b", "friend", day(3), True),
        ("a", "c", "follow", day(4), True),
        ("b", "a", "friend", day(3), True),
        ("b", "c", "friend", beginning, False),
        ("c", "b", "friend", beginning, False),
    ]
    assert counts["edges"].added == 1
    assert counts["edges"].rejected == {
        "kind is none of friend, follow": 1,
        "link of a user to itself": 1,
    }


def test_a_document_without_a_time_has_that_of_its_item(tmp_path: Path) -> None:
    documents = [
        {"user_id": None, "item_id": "i1", "kind": "title", "text": " Words ", "timestamp": None},
        {"user_id": "u1", "item_id": None, "kind": "post", "text": "no time", "timestamp": None},
        {"user_id": None, "item_id": None, "kind": "post", "text": "x", "timestamp": day(1)},
        {"user_id": "u1", "item_id": "i1", "kind": "review", "text": " ", "timestamp": day(1)},
    ]
    counts = clean_rows(tmp_path, {"interactions": [GOOD], "documents": documents})
    (kept,) = table_rows(tmp_path, "documents")
    assert (kept["text"], kept["timestamp"]) == ("Words", day(5))
    assert counts["documents"].rejected == {
        "neither user nor item": 1,
        "text is missing": 1,
        "timestamp is missing": 1,
    }


def test_the_primary_category_and_the_list_agree(tmp_path: Path) -> None:
    items = [
        {"item_id": "1", "category": None, "categories": ["a", " ", None, "b"]},
        {"item_id": "2", "category": "c", "categories": None},
        {"item_id": "3", "category": None, "categories": None},
    ]
    clean_rows(tmp_path, {"items": items, "interactions": [event("u", "1", day(1))]})
    found = [(row["category"], row["categories"]) for row in table_rows(tmp_path, "items")]
    assert found == [("a", ["a", "b"]), ("c", ["c"]), (None, [])]


@pytest.mark.parametrize("table", ["interactions", "items", "users"])
def test_an_empty_table_is_an_error(table: str, tmp_path: Path) -> None:
    empty: dict[str, list[Row]] = {"interactions": [GOOD], table: []}
    with pytest.raises(DataError, match=f"the table of {table} is empty"):
        clean_rows(tmp_path, empty)


def test_no_sound_event_at_all_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    tables = {"users": [{"user_id": "u9"}], "interactions": [GOOD]}
    with pytest.raises(DataError, match="no interaction is left after cleaning: 1 rows: unknown"):
        clean_rows(tmp_path, tables)


@pytest.mark.parametrize("table", SCHEMAS)
def test_tables_have_the_canonical_schema(table: str, tmp_path: Path) -> None:
    clean_rows(tmp_path, {"interactions": [GOOD]})
    assert pq.read_schema(table_path(tmp_path / "out", table)).equals(SCHEMAS[table])


RAW_EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u1", "u2", "", None]),
            "item_id": st.sampled_from(["i1", "i2", "i9"]),
            "action": st.sampled_from(["play", "rate", None]),
            "value": st.one_of(st.none(), st.floats(-1, 6, width=16)),
            "timestamp": st.sampled_from([day(1), day(2), None, SNAPSHOT_AT + timedelta(1)]),
            "timed": st.sampled_from([True, False, None]),
        }
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=RAW_EVENTS, repeat=st.integers(0, 3))
def test_every_row_is_accounted_for(
    rows: list[Row], repeat: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("law")
    staged = [GOOD | {"value": 1.0, "timed": True}, *rows, *rows[:repeat]]
    counts = clean_rows(
        folder,
        {"items": [{"item_id": "i1"}, {"item_id": "i2"}], "interactions": staged},
        value_bounds={"rate": (0.0, 5.0)},
    )["interactions"]
    kept = table_rows(folder, "interactions")
    assert counts.read == len(staged) == len(kept) + sum(counts.rejected.values())
    assert len(reasons(folder, "interactions")) == sum(counts.rejected.values())
    assert len({row["event_id"] for row in kept}) == len(kept)
    assert kept == sorted(
        kept, key=lambda row: (row["timestamp"], row["user_id"], row["item_id"], row["action"])
    )
    assert all(row["user_id"] and row["item_id"] in ("i1", "i2") for row in kept)
