"""Two towers: a planted order, new items by their content, the corrected softmax of a batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.channels.conftest import EVERYTHING
from tests.channels.planted import chain
from training.descent import DescentOptions, mean_ndcg, seeded
from training.events import Events
from training.profiles import Popularity
from training.queries import build_queries
from training.sources import Sources
from training.two_tower import TowerModel, TwoTower, TwoTowerOptions, content_of, pasts

DESCENT = DescentOptions(epochs=30, batch_size=100, learning_rate=0.02)
OPTIONS = TwoTowerOptions(width=16, length=6, content_alone=0.0, descent=DESCENT)


def content(num_items: int, width: int = 30) -> Sources:
    vectors = np.random.default_rng(0).normal(size=(num_items, width)).astype(np.float32)
    return Sources(vectors_ID=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def model_of(counts: list[int], options: TwoTowerOptions = OPTIONS) -> TowerModel:
    vectors = content(len(counts)).vectors_ID
    assert vectors is not None
    with seeded(0):
        return TowerModel(vectors, np.array(counts), options).eval()


def test_a_planted_order_is_learnt() -> None:
    events = chain()
    queries = build_queries(events, "test", EVERYTHING)
    scorer = TwoTower(events, content(40), OPTIONS)
    assert mean_ndcg(scorer, queries) > 0.8
    assert mean_ndcg(Popularity(events), queries) < 0.3


def test_a_new_item_is_found_by_its_content() -> None:
    # Item 39 is never taken up; its content is that of item 20.
    item_ids = np.array([f"i{n:03d}" for n in range(40)], dtype=object)
    events = replace(chain(num_items=39), item_ids=item_ids, available_at_us=np.full(40, -1))
    sources = content(40)
    assert sources.vectors_ID is not None
    sources.vectors_ID[39] = sources.vectors_ID[20]
    options = OPTIONS.model_copy(update={"content_alone": 0.5})
    scorer = TwoTower(events, sources, options)
    asked = build_queries(events, "test", EVERYTHING)
    last = np.array([asked.history.row(row)[-1] for row in range(len(asked))])
    scores = scorer.score(asked, np.flatnonzero(last == 19))
    assert (scores > scores[:, [39]]).sum(axis=1).mean() < 4


def test_the_loss_is_a_softmax_corrected_by_how_often_items_are_drawn() -> None:
    model = model_of([4, 3, 2, 1])
    history, following = torch.tensor([[0, 1], [1, 2], [4, 3]]), torch.tensor([2, 3, 2])
    users, answers = model.users(history), model.answer(model.items(following))
    share = torch.tensor([0.2, 0.1, 0.2])
    logits = users @ answers.T / OPTIONS.temperature - share.log()
    expected = []
    for row, others in enumerate(([1], [0, 2], [1])):  # rows 0 and 2 look for one item
        seen = torch.cat([logits[row, [row]], logits[row, others]])
        expected.append(-torch.log_softmax(seen, 0)[0])
    torch.testing.assert_close(model.loss(history, following), torch.stack(expected).mean())


def test_what_training_does_not_know_is_read_by_content_alone() -> None:
    model = model_of([4, 0, 2])
    read = model.items(torch.arange(3))
    alone = model.items(torch.arange(3), torch.ones(3, dtype=torch.bool))
    assert torch.equal(read[1], alone[1])
    assert not torch.equal(read[0], alone[0])


def test_empty_places_before_a_history_change_nothing() -> None:
    model = model_of([1, 1, 1])
    short, long = torch.tensor([[0, 2]]), torch.tensor([[3, 3, 0, 2]])
    torch.testing.assert_close(model.users(short), model.users(long))


def test_every_past_ends_before_its_item(events: Events) -> None:
    past, following = pasts(events, 3)
    user, item = events.training_histories()
    number = 0
    for place in range(1, len(item)):
        if user[place] != user[place - 1]:
            continue
        own = item[: place + 1][user[: place + 1] == user[place]]
        assert past.row(number).tolist() == own[:-1][-3:].tolist()
        assert following[number] == own[-1]
        number += 1
    assert number == len(past) == len(following)


def test_content_is_text_and_terms_and_neither_is_an_error(sources: Sources) -> None:
    assert sources.vectors_ID is not None
    both = content_of(sources, term_width=3)
    np.testing.assert_array_equal(both[:, :6], sources.vectors_ID)
    assert both.shape == (20, 9)
    with pytest.raises(ValueError, match="leave out"):
        content_of(Sources(), term_width=3)
