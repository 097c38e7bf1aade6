"""The cuts in time: at the right take-up, never through an instant, refused where impossible."""

from datetime import datetime
from pathlib import Path

import pytest

from feature_repo.pipelines.judge import open_duckdb
from feature_repo.pipelines.split import Span, find_span
from feature_repo.pipelines.tables import DataError
from tests.pipelines.raw_rows import Row, clean_rows, day, event


def span(folder: Path, events: list[Row], train: float = 0.8, validation: float = 0.1) -> Span:
    clean_rows(folder, {"interactions": events})
    with open_duckdb(folder, 1.0) as db:
        return find_span(db, folder / "out", train, validation)


def take_ups(days: list[int]) -> list[Row]:
    return [event("u", f"i{place}", day(number)) for place, number in enumerate(days)]


def test_cuts_lie_at_the_take_ups_that_begin_validation_and_test(tmp_path: Path) -> None:
    found = span(tmp_path, take_ups(list(range(1, 11))))
    assert found == Span(day(1), day(10), day(9), day(10))


def test_only_timed_take_ups_count_for_the_cuts(tmp_path: Path) -> None:
    """Views and untimed plays would move the cuts; views still count for first and last."""
    views = [
        event("u", f"v{n}", day(12 if n % 2 else 2), action="view", is_positive=False)
        for n in range(50)
    ]
    untimed = [event("u", f"p{n}", None, timed=False) for n in range(50)]
    found = span(tmp_path, take_ups(list(range(1, 11))) + views + untimed)
    assert found == Span(day(1), day(12), day(9), day(10))


def test_an_instant_is_never_cut_through(tmp_path: Path) -> None:
    """Six of ten take-ups on one day: both cuts would fall on it, so test starts a day later."""
    found = span(tmp_path, take_ups([1, 2, 3, 5, 5, 5, 5, 5, 5, 6]), 0.5, 0.2)
    assert (found.train_end_at, found.validation_end_at) == (day(5), day(6))


@pytest.mark.parametrize("days", [[5] * 10, [4] * 9 + [5], [4, 5, 5, 5]])
def test_too_few_different_times_are_an_error(days: list[int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few different times"):
        span(tmp_path, take_ups(days))


def test_a_source_without_any_time_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no take-up has a time"):
        span(tmp_path, [event("u", "i", None, timed=False)])


@pytest.mark.parametrize(("train", "validation"), [(0.9, 0.1), (0.0, 0.1), (0.8, 0.0), (1.2, 0.1)])
def test_fractions_must_leave_a_test_period(
    train: float, validation: float, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="--train-fraction"):
        span(tmp_path, take_ups([1, 2, 3]), train, validation)


def test_microseconds_are_kept(tmp_path: Path) -> None:
    exact = [datetime.fromisoformat(f"2023-01-0{n}T10:00:00.123457+00:00") for n in range(1, 10)]
    found = span(tmp_path, [event("u", f"i{at.day}", at) for at in exact])
    assert found.train_end_at == exact[7]
