"""Values: every way of writing an instant, lists, decimal signs, listed values."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.pipelines.adapters.columns import read_instants
from feature_repo.pipelines.adapters.mapping import TimeRule


def instants(values: pa.Array, rule: TimeRule) -> list[str | None]:
    """ISO text of each instant; `?` where it cannot be read."""
    read, wrong = read_instants(values, rule)
    assert read.type == pa.timestamp("us", "UTC")
    texts = [at.isoformat() if at is not None else None for at in read.to_pylist()]
    assert all(text is None for text, bad in zip(texts, wrong, strict=True) if bad)
    return ["?" if bad else text for text, bad in zip(texts, wrong, strict=True)]


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("2024-05-01", {}, "2024-05-01T00:00:00+00:00"),
        ("2024-05-01", {"zone": BERLIN}, "2024-04-30T22:00:00+00:00"),
        ("2024-05-01T10:00:00.25Z", {"zone": BERLIN}, "2024-05-01T10:00:00.250000+00:00"),
        ("2024-05-01 10:00:00-0500", {}, "2024-05-01T15:00:00+00:00"),
        ("2024-05-01T10:00+02", {}, "2024-05-01T08:00:00+00:00"),
        (" 2024-05-01 10:00 ", {}, "2024-05-01T10:00:00+00:00"),
        ("2024-10-27 02:30", {"zone": BERLIN}, "2024-10-27T00:30:00+00:00"),  # occurs twice
        ("2024-03-31 02:30", {"zone": BERLIN}, "2024-03-31T01:00:00+00:00"),  # never occurs
        ("yesterday", {}, "?"),
        ("2024-02-30", {}, "?"),
        ("", {}, None),
        (None, {}, None),
        ("1700000000", {"format": "epoch_s"}, "2023-11-14T22:13:20+00:00"),
        ("1700000000.5", {"format": "epoch_s"}, "2023-11-14T22:13:20.500000+00:00"),
        ("1700000000123", {"format": "epoch_ms"}, "2023-11-14T22:13:20.123000+00:00"),
        ("1700000000123456", {"format": "epoch_us"}, "2023-11-14T22:13:20.123456+00:00"),
        ("-1", {"format": "epoch_s"}, "1969-12-31T23:59:59+00:00"),
        ("1e300", {"format": "epoch_s"}, "?"),
        ("nan", {"format": "epoch_s"}, "?"),
        ("2024-05-01", {"format": "epoch_s"}, "?"),
        ("01.05.2024 10:00", {"format": "%d.%m.%Y %H:%M"}, "2024-05-01T10:00:00+00:00"),
        ("31.02.2024 10:00", {"format": "%d.%m.%Y %H:%M"}, "?"),
        ("01/05/24 10:00 +0200", {"format": "%d/%m/%y %H:%M %z"}, "2024-05-01T08:00:00+00:00"),
    ],
)
def test_an_instant_as_text(text: str | None, rule: dict[str, str], expected: str | None) -> None:
    # Among others, since a column is read as a whole.
    column = pa.array([None, text, "?", text], pa.string())
    assert instants(column, TimeRule.model_validate(rule)) == [None, expected, "?", expected]


def test_instants_of_parquet_keep_their_type() -> None:
    naive = pa.array([datetime(2024, 1, 1, 12), None], pa.timestamp("ns"))
    assert instants(naive, TimeRule(zone=BERLIN)) == ["2024-01-01T11:00:00+00:00", None]
    aware = pa.array([datetime(2024, 1, 1, 12, tzinfo=UTC)], pa.timestamp("ms", "UTC"))
    assert instants(aware, TimeRule(zone=BERLIN)) == ["2024-01-01T12:00:00+00:00"]
    days = pa.array([date(2024, 1, 1)], pa.date32())
    assert instants(days, TimeRule()) == ["2024-01-01T00:00:00+00:00"]


def test_columns_without_values_are_read() -> None:
    for rule in (TimeRule(), TimeRule(format="epoch_ms"), TimeRule(format="%Y")):
        assert instants(pa.array([], pa.string()), rule) == []
        assert instants(pa.array([None, ""], pa.string()), rule) == [None, None]


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))
def test_every_way_of_writing_an_instant_means_the_same(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    us = (at - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    written = {
        "iso": at.isoformat(),
        "epoch_us": str(us),
        "%Y-%m-%d %H:%M:%S.%f%z": at.strftime("%Y-%m-%d %H:%M:%S.%f%z"),
    }
    for form, text in written.items():
        read, wrong = read_instants(pa.array([text]), TimeRule(format=form))
        assert not wrong[0]
        assert read[0].as_py() == at, form
