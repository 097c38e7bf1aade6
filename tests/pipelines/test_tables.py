"""The data set folder: facts round-trip, files change as a whole or not at all."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from feature_repo.pipelines.tables import (
    SCHEMAS,
    DataError,
    DatasetInfo,
    table_path,
    write_table_atomic,
)

FACTS = {
    "name": "shop",
    "source": "by hand",
    "time_resolution": "exact",
    "first_event_at": datetime(2023, 1, 1, tzinfo=UTC),
    "last_event_at": datetime(2023, 2, 1, tzinfo=UTC),
    "train_end_at": datetime(2023, 1, 20, tzinfo=UTC),
    "validation_end_at": datetime(2023, 1, 25, tzinfo=UTC),
    "notes": ["one"],
}


def test_dataset_info_round_trips(tmp_path: Path) -> None:
    info = DatasetInfo.model_validate(FACTS)
    info.write(tmp_path)
    assert DatasetInfo.read(tmp_path) == info


def test_instants_are_kept_in_utc_and_must_say_their_zone() -> None:
    zone = timezone(timedelta(hours=2))
    info = DatasetInfo.model_validate(
        FACTS | {"train_end_at": datetime(2023, 1, 20, 2, tzinfo=zone)}
    )
    assert info.train_end_at.utcoffset() == timedelta(0)
    assert info.train_end_at == FACTS["train_end_at"]
    with pytest.raises(ValidationError, match="train_end_at"):
        DatasetInfo.model_validate(FACTS | {"train_end_at": datetime(2023, 1, 20)})


def test_a_missing_data_set_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json does not exist.*pipelines\.build"):
        DatasetInfo.read(tmp_path)


def test_a_write_that_fails_leaves_the_old_table(tmp_path: Path) -> None:
    path = table_path(tmp_path, "users")
    schema = SCHEMAS["users"]
    write_table_atomic(pa.Table.from_pylist([{"user_id": "old"}], schema), path)

    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"user_id": "new"}], schema)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        write_table_atomic(pa.RecordBatchReader.from_batches(schema, broken()), path)
    assert pq.read_table(path)["user_id"].to_pylist() == ["old"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("table", SCHEMAS)
def test_an_empty_table_keeps_its_schema(table: str, tmp_path: Path) -> None:
    path = table_path(tmp_path, table)
    assert write_table_atomic(SCHEMAS[table].empty_table(), path) == 0
    assert pq.read_schema(path).equals(SCHEMAS[table])
