"""Feedback is durable, counts once, and gives the rows that the batch pipeline would have given."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.pipelines.features.decay import DAY_US, HALF_LIVES_DAYS
from serving.feedback import (
    Event,
    FeedbackLog,
    Row,
    is_positive,
    read_log,
    updated_activity,
    updated_history,
)

DAYS = st.integers(0, 4000)


def event(number: int, at_us: int, item: str = "i", positive: bool = True) -> Event:
    return Event(f"e{number}", "u", item, "click", None, at_us, positive)


def counted(instants_us: list[int]) -> Row:
    row: Row = {}
    for number, at_us in enumerate(instants_us):
        row = updated_activity(row, event(number, at_us))
    return row


@given(st.lists(DAYS, min_size=1, max_size=12))
def test_counters_equal_their_definition_in_any_order_of_arrival(days: list[int]) -> None:
    row = counted([day * DAY_US for day in days])
    assert row["counted_at_us"] == max(days) * DAY_US
    assert row["num_events"] == len(days)
    for name, half_life in HALF_LIVES_DAYS.items():
        expected = sum(2.0 ** (-(max(days) - day) / half_life) for day in days)
        assert row[name] == pytest.approx(expected, rel=1e-9)


@given(st.permutations(range(8)))
def test_history_is_newest_first_in_any_order_of_arrival(order: list[int]) -> None:
    row: Row = {}
    for number in order:
        row = updated_history(row, event(number, number * DAY_US, item=f"i{number}"))
    assert row["recent_items"] == [f"i{number}" for number in reversed(range(8))]
    assert row["recent_at_us"] == sorted(row["recent_at_us"], reverse=True)


def test_an_item_stands_once_in_the_history_and_fifty_are_kept() -> None:
    row: Row = {}
    for number in range(60):
        row = updated_history(row, event(number, number, item=f"i{number}"))
    row = updated_history(row, event(60, 60, item="i55"))
    assert len(row["recent_items"]) == 50
    assert row["recent_items"][:2] == ["i55", "i59"]
    assert len(set(row["recent_items"])) == 50


def test_what_counts_as_a_take_up() -> None:
    assert is_positive("click", None, 3.5)
    assert not is_positive("skip", None, 3.5)
    assert not is_positive("rate", 2.0, 3.5)
    assert is_positive("rate", 4.0, 3.5)


def test_the_log_survives_a_restart(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    log.append(event(1, 5))
    log.append(event(2, 6, item="bad", positive=False))
    again = FeedbackLog(tmp_path / "feedback.jsonl")
    assert "e1" in again
    assert "e3" not in again
    assert again.rejected_by("u") == ("bad",)
    assert read_log(tmp_path / "feedback.jsonl")[0] == event(1, 5)


def test_a_rejection_taken_back_is_forgotten(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    log.append(event(1, 5, positive=False))
    log.append(event(2, 6))
    assert log.rejected_by("u") == ()


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    whole = json.dumps(dataclasses.asdict(event(1, 5)))
    path.write_text(whole + "\n" + whole[:20])
    log = FeedbackLog(path)
    log.append(event(2, 6))
    assert [e.event_id for e in read_log(path)] == ["e1", "e2"]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    path.write_text("nonsense\n" + json.dumps(dataclasses.asdict(event(1, 5))) + "\n")
    with pytest.raises(ValueError, match="line 1"):
        read_log(path)
