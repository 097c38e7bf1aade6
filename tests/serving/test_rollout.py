"""New bundles, new snapshots and pushed rows come into answers while the application runs."""

import gc
import json
import shutil
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from feast import FeatureStore

from serving import garbage
from serving.clock import microseconds
from serving.config import ServingConfig
from serving.event_log import Event
from serving.feedback import updated_activity
from serving.item_changes import count
from serving.item_pushes import ItemPush, append
from serving.live import Live
from serving.pointer import target
from serving.rollout import main, roll_back, roll_out
from serving.snapshot import Snapshot
from serving.taking import take_snapshot
from tests.serving.conftest import PLAIN_RANKER
from training.bundle import MANIFEST, Bundle, load_bundle
from training.plain_rows import as_table

NEVER_S = 1e6  # tests refresh by hand


@pytest.fixture
def bundles(bundle: Path, tmp_path: Path) -> list[Path]:
    """Two bundles that differ in nothing but their date, so in their version."""
    paths = []
    for year in (2031, 2032):
        path = Path(shutil.copytree(bundle, tmp_path / str(year) / "bundle"))
        manifest = json.loads((path / MANIFEST).read_text())
        manifest["created_at"] = f"{year}-01-01T00:00:00Z"
        (path / MANIFEST).write_text(json.dumps(manifest))
        paths.append(path)
    return paths


@pytest.fixture
def pointer(bundles: list[Path], own_repo: Path, tmp_path: Path) -> Path:
    """Where servers are told that the bundle is; it points to the first."""
    roll_out(bundles[0], tmp_path / "live", own_repo)
    return tmp_path / "live"


@pytest.fixture
def live(pointer: Path, own_repo: Path, store: FeatureStore) -> Live:
    config = {"bundle": pointer, "repo": own_repo, "clock": "data", "refresh_every_s": NEVER_S}
    return Live(ServingConfig.model_validate(config), store)


def test_a_running_replica_goes_over_to_the_bundle_that_is_pointed_to(
    live: Live, bundles: list[Path], pointer: Path, own_repo: Path
) -> None:
    old = live.state
    live.refresh()
    assert live.state is old
    roll_out(bundles[1], pointer, own_repo)
    assert live.state is old
    live.refresh()
    new = live.state
    assert new.ranker.bundle.manifest.created_at.year == 2032
    assert new.version != old.version
    assert old.snapshot.version == old.version  # who took the old one ends on it
    assert live.refresh_error is None
    roll_back(pointer, own_repo)
    live.refresh()
    assert live.state.version == old.version


def test_a_replica_makes_the_tokens_of_all_items_before_it_answers_from_them(
    bundles: list[Path], pointer: Path, own_repo: Path
) -> None:
    config = ServingConfig(
        bundle=pointer, repo=own_repo, refresh_every_s=NEVER_S, candidates_per_channel=1
    )
    live = PLAIN_RANKER(config)._live
    old = live.state.snapshot
    roll_out(bundles[1], pointer, own_repo)
    live.refresh()
    for snapshot in (old, live.state.snapshot):
        assert snapshot._item_tokens.num_made == len(snapshot)
    assert live.state.snapshot is not old


def test_the_old_state_is_not_kept_from_the_garbage_collector(
    live: Live,
    bundles: list[Path],
    pointer: Path,
    own_repo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "in_a_replica", lambda: True)
    try:
        garbage.settle()
        under_way, old = live.state, weakref.ref(live.state.snapshot)
        roll_out(bundles[1], pointer, own_repo)
        live.refresh()
        assert gc.get_freeze_count() == 0
        live.refresh()
        assert gc.get_freeze_count() == 0  # not yet: requests may hold the old state
        del under_way
        gc.collect()
        assert old() is None
        live._settle_at_s = time.monotonic()
        live.refresh()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one_and_says_so(
    live: Live, bundles: list[Path], pointer: Path, own_repo: Path
) -> None:
    old = live.state
    roll_out(bundles[1], pointer, own_repo)
    content = (bundles[1] / "encoder.json").read_text()
    (bundles[1] / "encoder.json").write_text(content + " ")
    live.refresh()
    assert live.state is old
    assert live.refresh_error is not None
    assert "file 'encoder.json' of bundle" in live.refresh_error
    (bundles[1] / "encoder.json").write_text(content)
    live.refresh()
    assert live.state is old  # not again at once
    live._tried_at -= 60
    live.refresh()
    assert live.state is not old
    assert live.refresh_error is None


def test_a_bundle_is_not_rolled_out_if_it_does_not_fit(
    bundles: list[Path], pointer: Path, own_repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundles[1] / "encoder.json").write_text("{}")
    command = ["--to", str(pointer), "--repo", str(own_repo)]
    assert main([str(bundles[1]), *command]) == 2
    assert "file 'encoder.json' of bundle" in capsys.readouterr().err
    assert target(pointer) == bundles[0].resolve()
    assert main(["--back", *command]) == 2
    assert "has pointed to no other bundle" in capsys.readouterr().err
    assert main([str(bundles[0]), "--to", str(bundles[1]), "--repo", str(own_repo)]) == 2
    assert "is a bundle; give a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(bundles[0]), "--back", *command])


def test_a_running_replica_goes_over_to_a_new_snapshot(
    live: Live,
    bundles: list[Path],
    pointer: Path,
    own_repo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, bundle = live.state, live.state.ranker.bundle
    at = bundle.as_of + timedelta(days=40)
    path = take_snapshot(bundles[0], own_repo, at, tmp_path / "none.jsonl")
    live.refresh()
    assert live.state.version == f"{bundle.version}.{path.name}" != old.version
    assert live.state.ranker.bundle is bundle  # not loaded again
    assert live.state.clock is old.clock
    assert list(live.state.snapshot.terms) != list(old.snapshot.terms)
    roll_out(bundles[1], pointer, own_repo)
    assert "it has no snapshot, as the bundle before has" in capsys.readouterr().out


def test_a_snapshot_that_cannot_be_read_leaves_the_old_one(
    live: Live, bundles: list[Path], own_repo: Path, tmp_path: Path, store: FeatureStore
) -> None:
    old = live.state
    at = old.ranker.bundle.as_of + timedelta(days=40)
    path = take_snapshot(bundles[0], own_repo, at, tmp_path / "none.jsonl")
    (path / "snapshot.json").write_text("{}")
    live.refresh()
    assert live.state is old
    assert f"snapshot {path} cannot be read" in str(live.refresh_error)
    # A replica that starts now does without it, and says so.
    again = Live(live._config, store)
    assert again.state.version == old.version
    assert f"snapshot {path} cannot be read" in str(again.refresh_error)


def text_row(loaded: Bundle, at_us: int) -> ItemPush:
    item_id = loaded.items.column("item_id")[3].as_py()
    words = {"keywords": ["zither"], "text_embedding": [0.6, 0.8, *[0.0] * 382]}
    return ItemPush("item_text", item_id, at_us, words)


def test_a_pushed_row_is_in_the_next_answer_and_in_every_snapshot_after(
    live: Live, bundles: list[Path], own_repo: Path, loaded: Bundle, tmp_path: Path
) -> None:
    """The tensors are what training would make of the row."""
    bundle = live.state.ranker.bundle
    push = text_row(loaded, microseconds(bundle.as_of) + 1)
    append(live.pushes, push)
    row = as_table(bundle.schema.view(push.view), [push.row])
    expected = bundle.encoder.encode(push.view, row)

    def assert_there(snapshot: Snapshot) -> None:
        batch = snapshot.batches(np.array([3]), push.at_us)[push.view]
        assert batch.rows.tolist() == [0]
        assert expected.keys() == batch.columns.keys()
        assert all(torch.equal(batch.columns[name], own) for name, own in expected.items())
        assert snapshot.terms[3][0] == "zither"
        assert snapshot.vectors is not None
        np.testing.assert_allclose(snapshot.vectors[3][:2], [0.6, 0.8], rtol=1e-6)

    before = live.state.snapshot
    assert_there(before)
    at = bundle.as_of + timedelta(microseconds=500)
    take_snapshot(bundles[0], own_repo, at, tmp_path / "none.jsonl")
    live.refresh()
    assert live.state.snapshot is not before
    assert_there(live.state.snapshot)


def event(item_id: str, at_us: int) -> Event:
    return Event(str(at_us), "u0000002", item_id, "click", None, at_us, True, at_us)


def test_feedback_changes_the_row_that_the_model_reads(live: Live, loaded: Bundle) -> None:
    snapshot, at_us = live.state.snapshot, microseconds(loaded.as_of) + 10
    rows = snapshot.views["item_popularity"]
    expected = rows.row(3)
    events = [event(snapshot.item_ids[3], at_us - 3 * number) for number in range(3)]
    for one in events:
        expected = updated_activity(expected or {}, one)
    count(snapshot, events[:2])
    count(snapshot, events[2:])
    assert rows.row(3) == expected
    encoded = loaded.encoder.encode("item_popularity", as_table(rows.view, [expected or {}]))
    columns = snapshot.batches(np.array([3]), at_us)["item_popularity"].columns
    assert all(torch.equal(columns[name], own) for name, own in encoded.items())
    assert columns["clock_us"].max() == at_us


def test_feedback_that_a_snapshot_was_taken_with_counts_once(
    live: Live, bundles: list[Path], own_repo: Path, tmp_path: Path
) -> None:
    at = live.state.ranker.bundle.as_of + timedelta(days=40)
    take_snapshot(bundles[0], own_repo, at, tmp_path / "none.jsonl")
    live.refresh()
    snapshot = live.state.snapshot
    item_id, known_until_us = snapshot.item_ids[3], int(snapshot.popularity.valued_at_us[3])
    before = snapshot.popularity.values.copy()
    count(snapshot, [event(item_id, known_until_us)])
    assert (snapshot.popularity.values == before).all()
    count(snapshot, [event(item_id, known_until_us + 1)])
    assert snapshot.popularity.values[3] > before[3] + 0.9


def test_a_row_that_is_older_changes_nothing(live: Live, loaded: Bundle) -> None:
    old = live.state.snapshot.terms[3]
    append(live.pushes, text_row(loaded, microseconds(loaded.as_of) - 1))
    assert live.state.snapshot.terms[3] == old


def test_a_line_that_is_no_row_is_told_and_does_not_stop_answers(live: Live) -> None:
    live.pushes.write_text("nonsense\n")
    assert live.state.snapshot
    assert "begins no pushed row" in str(live.refresh_error)


def test_a_new_state_is_prepared_before_a_request_takes_it(
    live: Live, bundles: list[Path], pointer: Path, own_repo: Path
) -> None:
    old, prepared = live.state.snapshot, list[tuple[Snapshot, Snapshot]]()
    live.prepare.append(lambda snapshot: prepared.append((snapshot, live.state.snapshot)))
    roll_out(bundles[1], pointer, own_repo)
    live.refresh()
    assert [(id(new), id(then)) for new, then in prepared] == [(id(live.state.snapshot), id(old))]


def test_feedback_is_not_forgotten_when_a_bundle_is_rolled_out(
    start: Callable[..., TestClient], bundles: list[Path], pointer: Path, own_repo: Path
) -> None:
    client = start(bundle=pointer, repo=own_repo, refresh_every_s=0.05)
    untouched, version = "i0000014", client.get("/healthz").json()["version"]
    assert client.get(f"/v1/items/{untouched}").json()["popularity_rank"] is None
    body = {"user_id": "u0000002", "item_id": untouched, "action": "click"}
    assert client.post("/v1/feedback", json=body).json()["accepted"]
    told = client.get(f"/v1/items/{untouched}").json()
    roll_out(bundles[1], pointer, own_repo)
    deadline = time.monotonic() + 60
    while client.get("/healthz").json()["version"] == version and time.monotonic() < deadline:
        time.sleep(0.05)
    again = client.get(f"/v1/items/{untouched}").json()
    assert client.get("/healthz").json()["version"] != version
    assert again == told
    assert again["popularity_rank"] is not None


def test_no_answer_mixes_versions_while_bundles_are_rolled_out(
    start: Callable[..., TestClient], bundles: list[Path], pointer: Path, own_repo: Path
) -> None:
    client = start(bundle=pointer, repo=own_repo, refresh_every_s=0.05)
    versions = {load_bundle(path).version for path in bundles}
    seen: list[str] = []
    deadline = time.monotonic() + 60
    while len(set(seen)) < 2 and time.monotonic() < deadline:
        if len(seen) == 5:
            roll_out(bundles[1], pointer, own_repo)
        body = {"user_id": "u0000002", "k": 3}
        answer: dict[str, Any] = client.post("/v1/recommend", json=body).json()
        assert len(answer["items"]) == 3
        seen.append(answer["version"].split(".")[0])
    assert set(seen) == versions
    assert seen == sorted(seen, key=seen.index)  # once over, never back
    assert client.get("/healthz").json()["refresh_error"] is None
