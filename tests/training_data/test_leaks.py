"""Nothing written at or after a label reaches it: not by features, negatives or the encoder."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from feast import FeatureStore

from tests.training_data import tiny
from training.encode import Encoder
from training.events import Events
from training.join import join_features
from training.labels import Labels, first_take_ups
from training.negatives import NegativeConfig, NegativeSampler
from training.registry import read_schema
from training.rows import training_rows
from training.schema import FeatureSchema

CUT_DAYS = 50
CUT_US = tiny.START_US + CUT_DAYS * tiny.DAY_US


def other_future(log: tiny.Log) -> tiny.Log:
    """The same events up to the cut, and others after it: more of them, by other users."""
    past = log.until(CUT_US - 1)
    rng = np.random.default_rng(0)
    num = 3 * len(log.at_us)
    at_us = CUT_US + np.sort(rng.integers(0, 200, num)) * (tiny.DAY_US // 4)
    return tiny.Log(
        np.append(past.user, rng.integers(0, log.num_users, num)),
        np.append(past.item, rng.integers(0, log.num_items, num)),
        np.append(past.at_us, at_us),
        log.num_users,
        log.num_items,
    )


def labels_before_the_cut(events: Events) -> Labels:
    sampler = NegativeSampler(events, NegativeConfig(num_negatives=8, max_rounds=2))
    labels = sampler.draw(first_take_ups(events, "train"))
    assert (labels.at_us >= CUT_US).any(), "there must be later labels that could change these"
    return labels.take(np.flatnonzero(labels.at_us < CUT_US))


def tensors(
    store: FeatureStore, schema: FeatureSchema, events: Events, labels: Labels
) -> dict[str, torch.Tensor]:
    """Everything a model would get for the labels, encoded by an encoder fitted up to the cut."""
    rows = training_rows(store, schema, tiny.instant(CUT_US))
    encoder = Encoder.fit(schema, rows, ["i001", "i002", "i003"])
    items = events.item_ids[labels.item_index[labels.mask]]
    at_us = np.broadcast_to(labels.at_us[:, None], labels.mask.shape)[labels.mask]
    joined = join_features(store, schema, "user", labels.user_id, labels.at_us)
    joined |= join_features(store, schema, "item", items, at_us)
    found = {}
    for name, view in joined.items():
        there = torch.from_numpy(view.rows)
        for column, values in encoder.encode(name, view.features).items():
            found[f"{name}/{column}"] = values[there[there >= 0]]
        found[f"{name}/present"] = there >= 0
    return found


@pytest.fixture(scope="module")
def same_future(
    log: tiny.Log, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Events, Labels, dict[str, torch.Tensor]]]:
    """Labels and tensors under the log's own future and under another."""
    found = {}
    for name, future in (("own", log), ("other", other_future(log))):
        folder: Path = tmp_path_factory.mktemp(name)
        # Availability is a fact about the item, told by the data set and not by its future.
        events = tiny.events_of(future)
        rows = tiny.feature_rows(future)
        store = tiny.make_store(folder, tiny.OURS, rows)
        labels = labels_before_the_cut(events)
        schema = read_schema(store, "everything")
        found[name] = (events, labels, tensors(store, schema, events, labels))
    return found


def test_another_future_leaves_labels_and_negatives(same_future: dict) -> None:
    (_, own, _), (_, other, _) = same_future["own"], same_future["other"]
    assert len(own) > 50
    assert own.user_id.tolist() == other.user_id.tolist()
    assert own.at_us.tolist() == other.at_us.tolist()
    assert own.item_index.tolist() == other.item_index.tolist()
    assert own.log_q.tolist() == other.log_q.tolist()


def test_another_future_leaves_all_tensors(same_future: dict) -> None:
    own, other = same_future["own"][2], same_future["other"][2]
    assert own.keys() == other.keys()
    for name, tensor in own.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("engine", tiny.ENGINES)
@pytest.mark.parametrize(("offset_us", "is_seen"), [(-1, True), (0, False), (1, False)])
def test_a_row_written_at_the_label_or_later_is_not_seen(
    engine: str, offset_us: int, is_seen: bool, tmp_path: Path
) -> None:
    label_us = tiny.START_US + 5 * tiny.DAY_US
    written = tiny.instant(label_us + offset_us)
    names = (name for name in tiny.COLUMNS if name != "activity")
    rows = {name: tiny.feature_table(name, []) for name in names}
    row = {"user_id": "u001", "event_timestamp": written, "num_events": 7}
    rows["activity"] = tiny.feature_table("activity", [row])
    store = tiny.make_store(tmp_path, engine, rows)
    schema = read_schema(store, "everything")
    view = join_features(store, schema, "user", ["u001"], np.array([label_us]))["activity"]
    assert (view.rows[0] >= 0) == is_seen
    if is_seen:
        assert view.features["num_events"][int(view.rows[0])].as_py() == 7


def test_the_encoder_does_not_know_rows_after_training(
    log: tiny.Log, rows: dict[str, pa.Table], tmp_path: Path
) -> None:
    train_end = tiny.instant(CUT_US)
    prints = []
    for name, tables in (
        ("all", rows),
        (
            "past",
            {
                n: t.filter(pc.less(t["event_timestamp"], pa.scalar(train_end)))
                for n, t in rows.items()
            },
        ),
        ("other", tiny.feature_rows(other_future(log))),
    ):
        store = tiny.make_store(tmp_path / name, tiny.OURS, tables)
        schema = read_schema(store, "everything")
        encoder = Encoder.fit(schema, training_rows(store, schema, train_end), ["i001"])
        prints.append(encoder.fingerprint())
    assert len(set(prints)) == 1


def test_items_first_taken_up_after_training_are_unknown(events: Events) -> None:
    late = tiny.events_of(tiny.random_log(seed=7), train_days=10)
    known = set(late.training_items())
    assert known < set(events.training_items())
    early = late.is_positive & (late.at_us < late.train_end_us)
    assert known == set(late.item_ids[np.unique(late.item_index[early])])
