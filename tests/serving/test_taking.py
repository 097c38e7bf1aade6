"""Taking a snapshot: the feature store's rows, encoded as in training, in files that are whole."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from feast import FeatureStore, FileSource

from serving import snapshot_files
from serving.clock import instant, microseconds
from serving.item_pushes import ItemPush, append
from serving.pointer import target
from serving.snapshot import Snapshot
from serving.snapshot_files import open_snapshot, snapshots_of, write_snapshot
from serving.taking import main, take, take_snapshot
from training.bundle import Bundle, load_bundle
from training.channels import everything
from training.events import read_events
from training.join import join_features
from training.queries import asking, before
from training.served import Served

NEW = "zz-new"
WORDS = {"keywords": ["zither", "zeal"], "text_embedding": [0.6, 0.8, *[0.0] * 382]}


@pytest.fixture(scope="session")
def at(loaded: Bundle) -> datetime:
    """So late that rows have come which the bundle lacks."""
    return loaded.as_of + timedelta(days=40)


def new_item(at_us: int) -> list[ItemPush]:
    """An item that the bundle lacks, with attributes and text."""
    attributes = {"title": "Newcomer", "category": "music", "categories": ["music", "odd"]}
    return [
        ItemPush("item_attributes", NEW, at_us, {**attributes, "available_at_us": at_us}),
        ItemPush("item_text", NEW, at_us, WORDS),
    ]


@pytest.fixture(scope="session")
def with_newcomer(
    loaded: Bundle, store: FeatureStore, at: datetime, tmp_path_factory: pytest.TempPathFactory
) -> Snapshot:
    """A snapshot with one item more than the bundle has; for reading only."""
    taken = take(loaded, store, at, new_item(microseconds(at) - 1))
    return open_snapshot(loaded, write_snapshot(loaded, taken, tmp_path_factory.mktemp("with")))


def assert_joined(snapshot: Snapshot, store: FeatureStore, at_us: int) -> None:
    """Every tensor of every item view is what the point-in-time join and the encoder make of it."""
    bundle, num = snapshot.bundle, snapshot.bundle.items.num_rows
    ids = bundle.items.column("item_id").to_pylist()
    joined = join_features(store, bundle.schema, "item", ids, np.full(num, at_us))
    batches = snapshot.batches(np.arange(num), at_us)
    assert batches.keys() == joined.keys()
    for view, rows in joined.items():
        assert (batches[view].rows.numpy() >= 0).tolist() == (rows.rows >= 0).tolist()
        there = np.flatnonzero(rows.rows >= 0)
        assert len(there)
        encoded = bundle.encoder.encode(view, rows.features)
        for name, column in encoded.items():
            own = batches[view].columns[name][torch.from_numpy(there)]
            assert torch.equal(own, column[torch.from_numpy(rows.rows[there].astype(np.int64))])


def test_a_bundles_own_items_are_those_of_the_join(loaded: Bundle, store: FeatureStore) -> None:
    assert_joined(Snapshot.from_bundle(loaded), store, microseconds(loaded.as_of) + 1)


def test_a_taken_snapshot_is_what_the_join_finds_at_its_instant(
    own_bundle: Path, store: FeatureStore, repo: Path, at: datetime
) -> None:
    path = take_snapshot(own_bundle, repo, at, own_bundle.parent / "none.jsonl")
    bundle = load_bundle(own_bundle)
    assert path == target(snapshots_of(own_bundle))
    snapshot = open_snapshot(bundle, path)
    assert_joined(snapshot, store, microseconds(at))
    old = Snapshot.from_bundle(bundle)
    assert list(snapshot.item_ids) == list(old.item_ids)
    assert list(snapshot.titles) == list(old.titles)
    assert list(snapshot.terms) != list(old.terms)  # new text brought new keywords
    assert (snapshot.available_at_us == old.available_at_us).all()
    assert snapshot.version != old.version
    assert snapshot.version.split(".")[0] == old.version.split(".")[0]


def test_what_is_written_at_the_instant_or_later_is_not_in_it(
    loaded: Bundle, store: FeatureStore, tmp_path: Path
) -> None:
    """As of the very moment of a row, in the midst of the data: the join of training says which."""
    past = loaded.as_of - timedelta(days=20)
    at_us = int(take(loaded, store, past).written_at_us["item_popularity"].max())
    path = write_snapshot(loaded, take(loaded, store, instant(at_us)), tmp_path)
    snapshot = open_snapshot(loaded, path)
    assert_joined(snapshot, store, at_us)
    assert max(rows.written_at_us.max() for rows in snapshot.views.values()) < at_us


def test_an_item_that_the_bundle_lacks_comes_in_with_all_that_is_known(
    with_newcomer: Snapshot, loaded: Bundle
) -> None:
    snapshot, place = with_newcomer, len(loaded.items)
    assert snapshot.position[NEW] == place == len(snapshot) - 1
    assert snapshot.titles[place] == "Newcomer"
    assert snapshot.terms[place] == ("zither", "zeal", "music", "odd")
    assert snapshot.in_categories(["odd"]).tolist() == [*[False] * place, True]
    assert snapshot.numbers[place] == 0  # no id of its own: text and attributes speak for it
    assert snapshot.vectors is not None
    np.testing.assert_allclose(snapshot.vectors[place][:3], [0.6, 0.8, 0.0], rtol=1e-6)
    assert not snapshot.neighbours(np.array([place]))[0].size
    there = {view: bool(rows.present[place]) for view, rows in snapshot.views.items()}
    assert there == {"item_attributes": True, "item_popularity": False, "item_text": True}


def test_what_channels_say_of_the_others_does_not_change_with_a_newcomer(
    with_newcomer: Snapshot, loaded: Bundle, world: Path
) -> None:
    events = everything(read_events(world))
    larger = dataclasses.replace(
        events,
        item_ids=np.append(events.item_ids, NEW),
        available_at_us=np.append(events.available_at_us, 0),
    )
    num_users, num = len(events.user_ids), len(events.item_ids)
    users, at_us = np.arange(num_users), np.full(num_users, microseconds(loaded.as_of) + 5)
    history = before(events, events.take_ups(), users, at_us)

    def scores(served: Served, of: object) -> list[np.ndarray]:
        queries = asking(of, users, at_us, history)  # type: ignore[arg-type]
        return [channel.score(queries, users) for channel in served.channels]

    whole, own = scores(with_newcomer.served, larger), scores(loaded.served, events)
    assert len(own) == len(loaded.served.channels) > 5
    for ours, theirs in zip(whole, own, strict=True):
        np.testing.assert_allclose(ours[:, :num], theirs, rtol=1e-5, atol=1e-6)
        assert not ours[:, num].any()


@pytest.mark.parametrize("later_us", [-1, 0, 1])
def test_of_a_pushed_row_and_one_of_the_source_the_later_counts(
    loaded: Bundle, store: FeatureStore, at: datetime, later_us: int
) -> None:
    item = loaded.items.column("item_id")[7].as_py()
    before_us = int(take(loaded, store, at).written_at_us["item_text"][7])
    push = ItemPush("item_text", item, before_us + later_us, WORDS)
    taken = take(loaded, store, at, [push])
    rows = taken.views["item_text"]
    keywords = rows.features.column("keywords")[int(rows.rows[7])].as_py()
    assert (keywords == WORDS["keywords"]) == (later_us >= 0)
    assert taken.written_at_us["item_text"][7] == max(before_us, push.at_us)


def test_rows_after_the_instant_and_beyond_the_ttl_are_not_read(
    loaded: Bundle, store: FeatureStore, at: datetime
) -> None:
    late = ItemPush("item_text", NEW, microseconds(at), WORDS)
    assert take(loaded, store, at, [late]).items.num_rows == loaded.items.num_rows
    view = store.get_feature_view("item_popularity")
    view.ttl = timedelta(days=45)
    rows = take(loaded, Narrowed(store, view), at)  # type: ignore[arg-type]
    oldest_us = microseconds(at - view.ttl)
    written_us = take(loaded, store, at).written_at_us["item_popularity"]
    kept = rows.views["item_popularity"].rows >= 0
    assert kept.tolist() == (written_us >= oldest_us).tolist()
    assert 0 < kept.sum() < len(kept)


class Narrowed:
    """A store in which one view is another."""

    def __init__(self, store: FeatureStore, view: object) -> None:
        self._store, self._view = store, view
        self.config, self.provider = store.config, store.provider

    def get_feature_view(self, name: str) -> object:
        return self._view if name == self._view.name else self._store.get_feature_view(name)  # type: ignore[attr-defined]


def test_a_writer_that_dies_leaves_the_snapshot_before(
    loaded: Bundle,
    store: FeatureStore,
    at: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = take(loaded, store, at)
    first = write_snapshot(loaded, taken, tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    later = dataclasses.replace(taken, as_of=at + timedelta(seconds=1))
    with monkeypatch.context() as patch:
        patch.setattr(snapshot_files, "write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            write_snapshot(loaded, later, tmp_path)
    assert target(tmp_path) == first
    assert len(open_snapshot(loaded, first)) == len(loaded.items)
    assert len(list(tmp_path.glob(".unfinished-*"))) == 1
    second = write_snapshot(loaded, later, tmp_path)
    assert target(tmp_path) == second
    assert target(tmp_path, "previous") == first
    assert not list(tmp_path.glob(".unfinished-*"))
    third = dataclasses.replace(taken, as_of=at + timedelta(seconds=2))
    write_snapshot(loaded, third, tmp_path)
    assert not first.exists()  # nobody reads what is two snapshots old
    assert second.exists()


def test_a_snapshot_serves_no_other_bundle(
    loaded: Bundle, store: FeatureStore, at: datetime, tmp_path: Path
) -> None:
    path = write_snapshot(loaded, take(loaded, store, at), tmp_path)
    created_at = datetime(2030, 1, 1, tzinfo=UTC)
    manifest = loaded.manifest.model_copy(update={"created_at": created_at})
    other = dataclasses.replace(loaded, manifest=manifest)
    with pytest.raises(ValueError, match=r"was made for bundle \w{8} .*python -m serving.snapshot"):
        open_snapshot(other, path)


def test_the_command_says_what_it_wrote_and_what_is_wrong(
    own_bundle: Path, repo: Path, capsys: pytest.CaptureFixture[str], at: datetime
) -> None:
    pushes = own_bundle.parent / "item_pushes.jsonl"
    for push in new_item(microseconds(at) - 1):
        append(pushes, push)
    command = ["--bundle", str(own_bundle), "--repo", str(repo), "--at", at.isoformat()]
    assert main(command) == 0
    assert "101 items, 1 of them unknown to the bundle" in capsys.readouterr().out
    assert main(command) == 2
    assert "there is a snapshot as of" in capsys.readouterr().err
    assert main(["--bundle", str(own_bundle.parent), "--repo", str(repo)]) == 2
    assert "is not a bundle" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command[:-1], "2026-01-01"])
    assert "has no zone" in capsys.readouterr().err


def test_a_view_that_cannot_be_read_is_named(
    loaded: Bundle, store: FeatureStore, at: datetime, tmp_path: Path
) -> None:
    view = store.get_feature_view("item_text")
    there = view.batch_source
    view.batch_source = FileSource(
        name=there.name,
        path=str(tmp_path / "nothing.parquet"),
        timestamp_field=there.timestamp_field,
    )
    with pytest.raises(ValueError, match=r"item view 'item_text' cannot be read .*nothing.parquet"):
        take(loaded, Narrowed(store, view), at)  # type: ignore[arg-type]
