"""Encoded labels: the same files from either kind of store, each feature row once, never half."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from feast import FeatureStore

from tests.training_data import tiny
from training import encoded
from training.arrays import map_arrays, scratch
from training.config import RunConfig
from training.dataset import Examples, TrainingData
from training.encode import Encoder
from training.encoded import encode_labels
from training.events import Events, SplitName
from training.join import join_features
from training.labels import Labels
from training.prepare import Joined, draw_labels, join_labels
from training.rows import training_rows
from training.schema import FeatureSchema

RUN = RunConfig(negatives=3, negative_pool=2, seed=1)
Everything = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def labels(events: Events) -> dict[SplitName, Labels]:
    drawn = draw_labels(events, RUN)
    for own in drawn.values():
        own.item_index[::5, -1] = -1  # no candidate was left
    return drawn


@pytest.fixture(scope="module")
def encoder(stores: dict[str, FeatureStore], schema: FeatureSchema, events: Events) -> Encoder:
    rows = training_rows(stores[tiny.OURS], schema, tiny.instant(events.train_end_us))
    return Encoder.fit(schema, rows, events.training_items().tolist())


@pytest.fixture(scope="module")
def joined(
    stores: dict[str, FeatureStore],
    schema: FeatureSchema,
    events: Events,
    labels: dict[SplitName, Labels],
) -> Joined:
    joined = join_labels(stores[tiny.OURS], schema, events, labels)
    for split, own in labels.items():
        # The item that stands in for no candidate has no features in this data; let it have some.
        joined.items[split]["attributes"][own.item_index < 0] = 1
    return joined


def per_label(data: TrainingData) -> Everything:
    """What each label sees of each column, copied out by number; zeros where there is no row."""
    seen = {}
    for split, examples in data.examples.items():
        for name, rows in (examples.user_rows | examples.item_rows).items():
            for key, column in data.views[name].items():
                padded = np.concatenate([column, np.zeros((1, *column.shape[1:]), column.dtype)])
                seen[f"{split}/{name}/{key}"] = padded[rows]
            seen[f"{split}/{name}/present"] = rows >= 0
        for field in ("at_us", "item_ids", "log_q", "mask"):
            seen[f"{split}/{field}"] = getattr(examples, field)
    return seen


def assert_equal(ours: Everything, theirs: Everything) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_splits_are_joined_together_as_each_by_itself(
    stores: dict[str, FeatureStore],
    schema: FeatureSchema,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
) -> None:
    store = stores[tiny.OURS]
    for split, own in labels.items():
        users = join_features(store, schema, "user", own.user_id, own.at_us)
        for name, view in users.items():
            np.testing.assert_array_equal(joined.users[split][name], view.rows)
        for column in range(own.item_index.shape[1]):
            there = own.item_index[:, column] >= 0
            ids = events.item_ids[own.item_index[there, column]]
            for name, view in join_features(store, schema, "item", ids, own.at_us[there]).items():
                np.testing.assert_array_equal(joined.items[split][name][there, column], view.rows)


def test_pointers_and_copies_give_bit_equal_tensors(
    stores: dict[str, FeatureStore],
    schema: FeatureSchema,
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
) -> None:
    copied = join_labels(stores[tiny.STOCK], schema, events, labels)
    kinds = {rows.dtype for side in (joined.users, joined.items) for rows in side["train"].values()}
    assert kinds == {np.dtype(np.int32)}
    assert copied.users["train"]["history"].dtype == np.int64
    ours, theirs = (
        per_label(encode_labels(encoder, events, labels, one, made(tmp_path / name)))
        for name, one in (("pointers", joined), ("copies", copied))
    )
    assert_equal(ours, theirs)
    assert sum(array.any() for array in ours.values()) > 20


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_each_label_sees_its_own_feature_rows_encoded(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
) -> None:
    data = encode_labels(encoder, events, labels, joined, tmp_path)
    found = per_label(data)
    numbers = encoder.item_numbers(events.item_ids)
    for split, own in labels.items():
        there = own.item_index >= 0
        np.testing.assert_array_equal(
            found[f"{split}/item_ids"], np.where(there, numbers[own.item_index], 0)
        )
        for name, rows in (joined.users[split] | joined.items[split]).items():
            rows = np.where(there, rows, -1) if name in joined.items[split] else rows
            np.testing.assert_array_equal(found[f"{split}/{name}/present"], rows >= 0)
            every = encoder.encode(name, joined.features[name])
            for key, column in every.items():
                expected = column.numpy()[rows[rows >= 0]]
                np.testing.assert_array_equal(found[f"{split}/{name}/{key}"][rows >= 0], expected)


def test_a_row_that_several_splits_see_is_encoded_once(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
) -> None:
    data = encode_labels(encoder, events, labels, joined, tmp_path)
    seen = [set(joined.items[split]["attributes"].ravel()) - {-1} for split in labels]
    assert len(seen[0] & seen[1]) > 10
    assert len(data.views["attributes"]["numeric"]) == len(set.union(*seen))
    assert len(data.views["graph"]["numeric"]) == 0


def test_files_do_not_depend_on_slices_chunks_or_the_width_of_pointers(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode_labels(encoder, events, labels, joined, made(tmp_path / "whole"))
    chunked = {
        name: pa.concat_tables([table.slice(start, 7) for start in range(0, len(table), 7)])
        if len(table)
        else table
        for name, table in joined.features.items()
    }
    assert chunked["history"].column(0).num_chunks > 10
    wide = [
        {
            split: {name: rows.astype(np.int64) for name, rows in views.items()}
            for split, views in side.items()
        }
        for side in (joined.users, joined.items)
    ]
    monkeypatch.setattr(encoded, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(encoded, "CELLS_AT_ONCE", 50)
    encode_labels(encoder, events, labels, Joined(chunked, *wide), made(tmp_path / "slices"))
    assert contents(tmp_path / "slices") == contents(tmp_path / "whole")


def test_what_broke_off_half_way_is_not_opened_and_a_rerun_is_whole(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = made(tmp_path / "encoded")
    monkeypatch.setattr(encoded, "ROWS_AT_ONCE", 16)
    words = joined.features["words"]
    longer = pa.array([[1.0, 2.0]] * 16, pa.list_(pa.float32()))
    spoilt = pa.concat_tables([words.slice(0, len(words) - 16), pa.table([longer], words.schema)])
    broken = dataclasses.replace(joined, features=joined.features | {"words": spoilt})
    with pytest.raises(ValueError, match="has 3 dimensions"):
        encode_labels(encoder, events, labels, broken, folder)
    assert any(file.stat().st_size > 128 for file in folder.iterdir()), "some rows were written"
    with pytest.raises(ValueError, match=r"no finished arrays .* storage that all of them share"):
        TrainingData.open(folder)
    with scratch(folder):
        encode_labels(encoder, events, labels, joined, folder)
        again = contents(folder)
    assert not folder.exists()
    with scratch(folder):
        encode_labels(encoder, events, labels, joined, folder)
        assert contents(folder) == again


def test_arrays_are_mapped_and_cannot_be_written_to(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
) -> None:
    data = encode_labels(encoder, events, labels, joined, tmp_path)
    assert data.folder == tmp_path
    arrays = [array for view in data.views.values() for array in view.values()]
    arrays += [data.train.at_us, data.train.item_ids, *data.train.item_rows.values()]
    for array in arrays:
        assert type(array) is np.ndarray
        assert not array.flags.writeable
        assert not array.flags.owndata
    assert {field.name for field in dataclasses.fields(Examples)} == set(
        map_arrays(tmp_path)["examples"]["train"]
    )


def test_a_shortened_file_is_refused(
    encoder: Encoder,
    events: Events,
    labels: dict[SplitName, Labels],
    joined: Joined,
    tmp_path: Path,
) -> None:
    encode_labels(encoder, events, labels, joined, tmp_path)
    longest = max(tmp_path.glob("*.npy"), key=lambda file: file.stat().st_size)
    longest.write_bytes(longest.read_bytes()[:-1])
    with pytest.raises(ValueError, match="mmap length is greater than file size"):
        TrainingData.open(tmp_path)


def test_a_scratch_folder_begins_empty_and_goes_whatever_happens(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "encoded"
    folder.mkdir(parents=True)
    (folder / "left by a killed run").touch()
    with scratch(folder):
        assert list(folder.iterdir()) == []
        (folder / "half").touch()
    assert not folder.exists()
    with pytest.raises(KeyError), scratch(folder):
        raise KeyError
    assert not folder.exists()
