"""Negatives were there, were not taken up, come as often as log_q says, and know no future."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training_data import tiny
from training.events import Events
from training.labels import Labels, Positives, first_take_ups
from training.negatives import NegativeConfig, NegativeSampler


def draw(events: Events, **config: float) -> Labels:
    positives = first_take_ups(events, "train")
    return NegativeSampler(events, NegativeConfig.model_validate(config)).draw(positives)


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=25, deadline=None)
def test_negatives_could_have_been_known(seed: int, share: float) -> None:
    events = tiny.events_of(tiny.random_log(seed, num_events=200, num_users=6, num_items=15))
    labels = draw(events, num_negatives=5, uniform_share=share, max_rounds=2, seed=seed)
    log = list(
        zip(
            events.user_index.tolist(),
            events.item_index.tolist(),
            events.at_us.tolist(),
            strict=True,
        )
    )
    for user, at_us, candidates, log_q in zip(
        labels.user_index, labels.at_us, labels.item_index, labels.log_q, strict=True
    ):
        met = {item for who, item, when in log if who == user and when <= at_us}
        there = set(np.flatnonzero(events.available_at_us < at_us).tolist())
        assert candidates[0] in met
        if there - met:
            assert set(candidates[1:].tolist()) <= there - met
        else:
            assert (candidates[1:] == -1).all()
        assert ((log_q == 0) | (candidates >= 0)).all()
        assert (np.isfinite(log_q) & (log_q <= 0)).all()


def test_log_q_is_the_popularity_before_the_label(events: Events) -> None:
    share = 0.25
    labels = draw(events, num_negatives=4, uniform_share=share)
    for at_us, candidates, log_q in zip(labels.at_us, labels.item_index, labels.log_q, strict=True):
        before = events.is_positive & (events.at_us < at_us)
        num_there = (events.available_at_us < at_us).sum()
        for item, value in zip(candidates, log_q, strict=True):
            if item >= 0 and before.any():
                count = max(1, (before & (events.item_index == item)).sum())
                q = share / num_there + (1 - share) * count / before.sum()
                # Drawn in a uniform round after others failed: rare, and marked by its own q.
                assert np.isclose(value, np.log(q)) or np.isclose(value, -np.log(num_there))


def test_log_q_of_either_extreme(events: Events) -> None:
    uniform = draw(events, num_negatives=4, uniform_share=1.0)
    num_there = (events.available_at_us < uniform.at_us[:, None]).sum(axis=1)
    expected = np.broadcast_to(-np.log(num_there)[:, None], uniform.log_q.shape)
    np.testing.assert_allclose(uniform.log_q[uniform.mask], expected[uniform.mask], rtol=1e-5)
    popular = draw(events, num_negatives=4, uniform_share=0.0)
    late = popular.take(np.array([-1]))
    before = events.is_positive & (events.at_us < late.at_us[0])
    counts = np.bincount(events.item_index[before], minlength=len(events.item_ids))
    expected = np.log(counts[late.item_index[0]] / before.sum())
    np.testing.assert_allclose(late.log_q[0], expected, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_draws_come_as_often_as_log_q_says(events: Events, share: float) -> None:
    # A user who never did anything, so that nothing is rejected but the positive: an item of which
    # nobody ever took up a thing, to leave popularity whole.
    last = events.at_us[-1] + 1
    new_item = len(events.item_ids)
    events = replace(
        events,
        item_ids=np.append(events.item_ids, "new"),
        available_at_us=np.append(events.available_at_us, last),
    )
    num = 200
    positives = Positives("train", *(np.full(num, v) for v in (11, new_item, last)), 0)
    config = NegativeConfig(num_negatives=500, uniform_share=share)
    labels = NegativeSampler(events, config).draw(positives)
    items, log_q = labels.item_index[:, 1:].ravel(), labels.log_q[:, 1:].ravel()
    found = np.bincount(items, minlength=new_item) / len(items)
    said = np.zeros(new_item)
    said[items] = np.exp(log_q)
    assert said.sum() == pytest.approx(1.0, abs=0.01)
    # Five standard errors of 100,000 draws.
    np.testing.assert_allclose(found, said, atol=5 * np.sqrt(0.25 / len(items)))


def test_the_same_seed_draws_the_same_and_another_epoch_others(events: Events) -> None:
    sampler = NegativeSampler(events, NegativeConfig(num_negatives=6))
    positives = first_take_ups(events, "train")
    first, again, other = (sampler.draw(positives, epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first.item_index, again.item_index)
    assert not np.array_equal(first.item_index, other.item_index)
    assert np.array_equal(first.item_index[:, 0], other.item_index[:, 0])


def test_the_last_item_left_is_found() -> None:
    """One user has met all items but one, which draws by popularity never hit."""
    num_items = 50
    events = Events(
        user_ids=np.array(["a", "b"], object),
        item_ids=np.array([tiny.item_id(n) for n in range(num_items)], object),
        available_at_us=np.zeros(num_items, np.int64),
        user_index=np.zeros(num_items - 1, np.int64),
        item_index=np.arange(num_items - 1),
        at_us=np.arange(1, num_items),
        is_positive=np.ones(num_items - 1, np.bool_),
        train_end_us=1000,
        validation_end_us=2000,
    )
    labels = draw(events, num_negatives=3, uniform_share=0.0, max_rounds=1)
    assert labels.item_index[-1].tolist() == [48, 49, 49, 49]
    np.testing.assert_allclose(labels.log_q[-1, 1:], -np.log(50), rtol=1e-6)
    everything = replace(
        events, item_ids=events.item_ids[:49], available_at_us=np.zeros(49, np.int64)
    )
    none_left = draw(everything, num_negatives=3)
    assert none_left.item_index[-1].tolist() == [48, -1, -1, -1]
    assert none_left.log_q[-1, 1:].tolist() == [0, 0, 0]
