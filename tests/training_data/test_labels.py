"""Labels are first take-ups in their period; events are numbered the same however rows lie."""

from pathlib import Path

import numpy as np
import pytest

from tests.training_data import tiny
from training.events import Events, read_events
from training.labels import first_take_ups
from training.negatives import NegativeConfig, NegativeSampler
from training.split import random_split, split_each_user


def test_events_are_read_in_order_with_sorted_ids(tmp_path: Path, log: tiny.Log) -> None:
    untimed = tiny.random_log(seed=99, num_events=50)
    tiny.write_tables(tmp_path, log, untimed)
    read, expected = read_events(tmp_path), tiny.events_of(log)
    assert read.user_ids.tolist() == expected.user_ids.tolist()
    assert read.item_ids.tolist() == expected.item_ids.tolist()
    assert read.available_at_us.tolist() == expected.available_at_us.tolist()
    assert (read.train_end_us, read.validation_end_us) == (
        expected.train_end_us,
        expected.validation_end_us,
    )
    # Untimed interactions are left out, and events of one instant may lie in any fixed order.
    assert np.array_equal(read.at_us, expected.at_us)
    assert in_a_fixed_order(read) == in_a_fixed_order(expected)


def in_a_fixed_order(events: Events) -> list[tuple[int, int, int, bool]]:
    columns = (events.at_us, events.user_index, events.item_index, events.is_positive)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_a_missing_data_set_names_the_command(tmp_path: Path, log: tiny.Log) -> None:
    with pytest.raises(ValueError, match=r"python -m feature_repo\.pipelines\.build"):
        read_events(tmp_path)
    tiny.write_tables(tmp_path, log)
    (tmp_path / "tables" / "items.parquet").unlink()
    with pytest.raises(ValueError, match=r"items\.parquet does not exist; build the data set"):
        read_events(tmp_path)


def test_an_interaction_with_an_unknown_item_is_an_error(tmp_path: Path, log: tiny.Log) -> None:
    tiny.write_tables(tmp_path / "a", log)
    tiny.write_tables(tmp_path / "b", tiny.random_log(seed=1, num_items=3))
    few_items = tmp_path / "b" / "tables" / "items.parquet"
    few_items.replace(tmp_path / "a" / "tables" / "items.parquet")
    with pytest.raises(ValueError, match="a user or item that is in no table"):
        read_events(tmp_path / "a")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_positives_equal_a_walk_through_the_log(split: str, events: Events) -> None:
    walked, unavailable, taken = [], 0, set()
    start, end = {
        "train": (0, events.train_end_us),
        "validation": (events.train_end_us, events.validation_end_us),
        "test": (events.validation_end_us, 2**62),
    }[split]
    columns = (events.user_index, events.item_index, events.at_us, events.is_positive)
    for user, item, at_us, positive in zip(*(c.tolist() for c in columns), strict=True):
        if not positive or (user, item) in taken:
            continue
        taken.add((user, item))
        if start <= at_us < end:
            if events.available_at_us[item] < at_us:
                walked.append((user, item, at_us))
            else:
                unavailable += 1
    positives = first_take_ups(events, split)
    found = zip(positives.user_index, positives.item_index, positives.at_us, strict=True)
    assert [tuple(int(value) for value in row) for row in found] == walked
    assert positives.num_unavailable == unavailable
    assert len(positives) == len(walked) > 10


def test_a_period_without_take_ups_is_an_error(log: tiny.Log) -> None:
    with pytest.raises(ValueError, match="the test period has no take-up"):
        first_take_ups(tiny.events_of(log, validation_days=500), "test")


def test_training_items_are_those_taken_up_before_the_end(events: Events) -> None:
    early = events.is_positive & (events.at_us < events.train_end_us)
    expected = {tiny.item_id(item) for item in events.item_index[early]}
    assert events.training_items().tolist() == sorted(expected)


def test_some_labels_are_those_labels(events: Events) -> None:
    sampler = NegativeSampler(events, NegativeConfig(num_negatives=3))
    labels = sampler.draw(first_take_ups(events, "train"))
    some = labels.take(np.array([4, 2]))
    assert len(some) == 2
    assert some.item_index.tolist() == labels.item_index[[4, 2]].tolist()
    assert some.user_id[0] == events.user_ids[labels.user_index[4]]
    assert some.mask.shape == (2, 4)


def test_the_random_split_shares_out_each_user(tmp_path: Path, log: tiny.Log) -> None:
    untimed = tiny.random_log(seed=99, num_events=50)
    tiny.write_tables(tmp_path, log, untimed)
    split = random_split(tmp_path, seed=3)
    pairs = set(zip(split.user_index.tolist(), split.item_index.tolist(), strict=True))
    assert len(pairs) == len(split.part)
    both = [(part.user + part.item) % 4 != 0 for part in (log, untimed)]
    expected = {
        (user, item)
        for part, positive in zip((log, untimed), both, strict=True)
        for user, item in zip(
            part.user[positive].tolist(), part.item[positive].tolist(), strict=True
        )
    }
    assert pairs == expected
    for user in np.unique(split.user_index):
        counts = np.bincount(split.part[split.user_index == user], minlength=3)
        tenth = max(1, counts.sum() // 10)
        assert counts[1] == counts[2] == tenth
    assert np.array_equal(random_split(tmp_path, seed=3).part, split.part)
    assert not np.array_equal(random_split(tmp_path, seed=4).part, split.part)
    assert sum(len(split.pairs(name)[0]) for name in ("train", "validation", "test")) == len(pairs)
    with pytest.raises(ValueError, match="no take-up of action 'sing'"):
        random_split(tmp_path, seed=3, action="sing")


@pytest.mark.parametrize(
    ("num_rows", "parts"), [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (30, [24, 3, 3])]
)
def test_small_users_give_to_test_first(num_rows: int, parts: list[int]) -> None:
    part = split_each_user(np.full(num_rows, 5), seed=1)
    assert np.bincount(part, minlength=3).tolist() == parts
