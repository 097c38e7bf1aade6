"""Where training data ends and test data begins: one global cut in time for everybody.

Instants with many events (month-resolution data) are never cut through: all events of an instant
fall on one side.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb

from feature_repo.pipelines.judge import sql_text
from feature_repo.pipelines.tables import EPOCH, DataError, table_path


class Span(NamedTuple):
    """First and last timed event, and the two cuts between them."""

    first_event_at: datetime
    last_event_at: datetime
    train_end_at: datetime
    validation_end_at: datetime


def find_span(
    db: duckdb.DuckDBPyConnection,
    data_dir: Path,
    train_fraction: float = 0.7,
    validation_fraction: float = 0.1,
) -> Span:
    """Cuts at the instants of the take-ups at these fractions of all timed take-ups.

    Events before `train_end_at` are training data, before `validation_end_at` validation, the rest
    test. Should both cuts fall on one instant, the second moves to the next instant. `DataError` if
    the take-ups have too few different instants for three parts.
    """
    if not (0 < train_fraction < 1 and 0 < validation_fraction < 1 - train_fraction):
        raise DataError(
            f"--train-fraction {train_fraction} and --validation-fraction {validation_fraction} "
            "must be above 0 and leave something for the test"
        )
    events = f"""(SELECT epoch_us(timestamp) AS at_us, is_positive
        FROM read_parquet({sql_text(table_path(data_dir, "interactions"))}) WHERE timed)"""
    first_us, last_us, num_take_ups, first_take_up_us = _integers(
        db,
        f"""SELECT min(at_us), max(at_us), count(*) FILTER (is_positive),
            min(at_us) FILTER (is_positive) FROM {events}""",
    )
    if not num_take_ups:
        raise DataError("no take-up has a time, so there is nothing to split by time")
    take_ups = f"SELECT at_us FROM {events} WHERE is_positive"
    train_end_us, validation_end_us = (
        _integers(db, f"{take_ups} ORDER BY at_us LIMIT 1 OFFSET {int(fraction * num_take_ups)}")[0]
        for fraction in (train_fraction, train_fraction + validation_fraction)
    )
    if validation_end_us == train_end_us:
        later = f"SELECT coalesce(min(at_us), {train_end_us}) FROM ({take_ups})"
        (validation_end_us,) = _integers(db, f"{later} WHERE at_us > {train_end_us}")
    if not first_take_up_us < train_end_us < validation_end_us:
        raise DataError(
            f"the {num_take_ups} take-ups between {_instant(first_us):%Y-%m-%d} and "
            f"{_instant(last_us):%Y-%m-%d} have too few different times for a training, a "
            "validation and a test period"
        )
    cuts = (first_us, last_us, train_end_us, validation_end_us)
    return Span(*(_instant(cut) for cut in cuts))


def _instant(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)


def _integers(db: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = db.execute(query).fetchone()
    assert row is not None
    return row
