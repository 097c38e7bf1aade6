"""SASRec: a planted order, no look ahead, windows that lose nothing, the softmax over draws."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.channels.conftest import EVERYTHING
from tests.channels.planted import chain
from training.descent import DescentOptions, mean_ndcg, seeded
from training.events import Events
from training.profiles import Popularity
from training.queries import build_queries
from training.sasrec import Sasrec, SasrecOptions, SequenceModel, of_one_length, training_windows

DESCENT = DescentOptions(epochs=30, batch_size=20, learning_rate=0.01)
OPTIONS = SasrecOptions(width=16, length=8, dropout=0.0, num_drawn=20, descent=DESCENT)


def model_of(num_items: int, **changes: float) -> SequenceModel:
    with seeded(0):
        return SequenceModel(num_items, None, OPTIONS.model_copy(update=changes)).eval()


def test_a_planted_order_is_learnt() -> None:
    events = chain()
    queries = build_queries(events, "test", EVERYTHING)
    scorer = Sasrec(events, options=OPTIONS)
    assert mean_ndcg(scorer, queries) > 0.9
    assert mean_ndcg(Popularity(events), queries) < 0.3


def test_a_state_knows_nothing_of_what_follows() -> None:
    model = model_of(9)
    walk = torch.tensor([[1, 2, 3, 4]])
    other = torch.tensor([[1, 2, 7, 8]])
    ours, theirs = (model.states(model.embed(items)) for items in (walk, other))
    torch.testing.assert_close(ours[:, :2], theirs[:, :2])
    assert not torch.allclose(ours[:, 2], theirs[:, 2])


def test_empty_places_after_the_end_change_no_state() -> None:
    model = model_of(9)
    walk = torch.tensor([[1, 2, 3]])
    longer = torch.cat([walk, torch.full((1, 4), 9)], dim=1)
    ours, theirs = (model.states(model.embed(items)) for items in (longer, walk))
    torch.testing.assert_close(ours[:, :3], theirs)


def test_with_all_items_drawn_the_loss_is_the_full_softmax() -> None:
    model = model_of(6, num_drawn=6)
    walk = torch.tensor([[1, 2, 3], [4, 5, 6]])
    scores = model.states(model.embed(walk[:, :-1])) @ model.embed(torch.arange(6)).T
    logs = torch.log_softmax(scores, dim=2)
    found = [logs[0, 0, 2], logs[0, 1, 3], logs[1, 0, 5]]
    torch.testing.assert_close(model.loss(walk), -torch.stack(found).mean())


def test_the_loss_over_draws_is_near_that_over_all_items() -> None:
    walk = torch.randint(500, (40, 6), generator=torch.Generator().manual_seed(0))
    full, drawn = (model_of(500, num_drawn=num).loss(walk).item() for num in (500, 250))
    assert abs(full - drawn) < 0.05


def test_windows_hold_every_training_pair_once(events: Events) -> None:
    windows = training_windows(events, 4)
    user, item = events.training_histories()
    same = user[1:] == user[:-1]
    expected = list(zip(item[:-1][same].tolist(), item[1:][same].tolist(), strict=True))
    walks = [windows.row(number).tolist() for number in range(len(windows))]
    assert [pair for walk in walks for pair in pairwise(walk)] == expected
    assert max(len(walk) for walk in walks) == 5


def test_nobody_with_two_take_ups_is_an_error(events: Events) -> None:
    _, first = np.unique(events.user_index, return_index=True)
    alone = replace(events, is_positive=np.isin(np.arange(len(events.at_us)), first))
    with pytest.raises(ValueError, match="leave out"):
        training_windows(alone, 4)


def test_batches_hold_every_window_once_and_those_of_about_one_length(events: Events) -> None:
    windows = training_windows(events, 8)
    batches = of_one_length(windows, 4)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(windows)))
    for rows in batches:
        assert np.ptp(windows.lengths[rows.numpy()]) <= 4


def test_content_gives_a_new_item_the_place_of_its_like() -> None:
    # Item 39 is never taken up; its vector is that of item 20.
    events = chain(num_items=39)
    item_ids = np.array([f"i{n:03d}" for n in range(40)], dtype=object)
    events = replace(events, item_ids=item_ids, available_at_us=np.full(40, -1))
    vectors = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    vectors[39] = vectors[20]
    scorer = Sasrec(events, vectors, OPTIONS)
    asked = build_queries(events, "test", EVERYTHING)
    last = np.array([asked.history.row(row)[-1] for row in range(len(asked))])
    rows = np.flatnonzero(last == 19)
    scores = scorer.score(asked, rows)
    ranks = (scores > scores[:, [39]]).sum(axis=1)
    assert ranks.mean() < 5
