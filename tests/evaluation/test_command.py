"""The command on a tiny data set folder: tables in, report out; errors without a traceback."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.pipelines.tables import SCHEMAS, DatasetInfo, table_path, write_table_atomic
from training.compare import main
from training.events import read_events
from training.slices import category_vectors, read_friends

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    users, items = [f"u{n}" for n in range(20)], [f"i{n}" for n in range(30)]
    interactions = [
        {
            "event_id": f"e{n}",
            "user_id": users[rng.integers(20)],
            "item_id": items[rng.integers(30)],
            "action": "view",
            "timestamp": START + timedelta(hours=n),
            "is_positive": True,
            "timed": True,
        }
        for n in range(400)
    ]
    rows = {
        "users": [{"user_id": user} for user in users],
        "items": [
            {
                "item_id": i,
                "title": i,
                "categories": ["even", "all"][n % 2 :],
                "available_at": START,
            }
            for n, i in enumerate(items)
        ],
        "interactions": interactions,
        "edges": [{"source_id": "u1", "target_id": "u2", "kind": "follow", "valid_from": START}],
        "documents": [],
    }
    for name, schema in SCHEMAS.items():
        table = pa.Table.from_pylist(rows[name], schema=schema)
        write_table_atomic(table, table_path(tmp_path, name))
    DatasetInfo(
        name="tiny",
        source="made for a test",
        time_resolution="exact",
        first_event_at=START,
        last_event_at=START + timedelta(hours=399),
        train_end_at=START + timedelta(hours=300),
        validation_end_at=START + timedelta(hours=350),
    ).write(tmp_path)
    return tmp_path


def test_baselines_of_a_data_set(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data_dir / "run"
    assert main(["--data", str(data_dir), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "most-popular-lately" in printed
    assert "ease" in printed
    assert (out / "metrics.json").is_file()
    assert "data set tiny" in (out / "report.html").read_text(encoding="utf-8")


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", str(tmp_path / "none"), "--out", str(tmp_path)]
    assert main(flags) == 2
    assert "dataset.json does not exist" in capsys.readouterr().err


def test_friends_and_categories_are_read_by_number(data_dir: Path) -> None:
    events = read_events(data_dir)
    since = read_friends(data_dir, events)
    assert since is not None
    linked = events.user_ids == "u1"
    assert since[linked] == START.timestamp() * 1e6
    assert (since[~linked] == np.iinfo(np.int64).max).all()
    vectors = category_vectors(data_dir, events)
    assert vectors is not None
    assert vectors[events.item_ids == "i0"].tolist() == [[1.0, 1.0]]
    assert vectors[events.item_ids == "i1"].tolist() == [[1.0, 0.0]]
