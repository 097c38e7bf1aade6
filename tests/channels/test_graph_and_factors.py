"""BPR and LightGCN: loss and propagation by their definitions, new users, planted tastes."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tests.channels.conftest import EVERYTHING
from tests.channels.planted import two_camps
from training.baselines import Scorer, training_matrix
from training.descent import DescentOptions, mean_ndcg
from training.events import Events
from training.light_graph import LightGraph, LightGraphOptions
from training.matrix_factors import (
    MatrixFactors,
    MatrixFactorsOptions,
    TakenPairs,
    array,
    pairwise_loss,
)
from training.profiles import Popularity
from training.queries import Queries, before, build_queries
from training.sources import Sources

DESCENT = DescentOptions(epochs=60, batch_size=512, learning_rate=0.05, look_every=5)
SHORT = DESCENT.model_copy(update={"epochs": 3})
FACTORS = MatrixFactorsOptions(width=8, descent=DESCENT)
GRAPH = LightGraphOptions(width=8, layers=2, descent=DESCENT)


def asked(events: Events) -> Queries:
    return build_queries(events, "test", EVERYTHING)


def fits(events: Events, watch: Queries | None = None) -> list[Scorer]:
    return [
        MatrixFactors(events, FACTORS, watch),
        LightGraph(events, Sources(), GRAPH, watch),
    ]


def test_planted_tastes_are_learnt() -> None:
    events = two_camps()
    queries = asked(events)
    for scorer in fits(events):
        assert mean_ndcg(scorer, queries) > 1.5 * mean_ndcg(Popularity(events), queries)


def test_somebody_new_is_served_by_what_they_took_up() -> None:
    # The first four users are new: nothing of theirs is in training, all of it in the history.
    events = two_camps()
    is_new = np.isin(events.user_index, np.arange(4))
    at_us = np.where(is_new & (events.at_us < events.train_end_us), -1, events.at_us)
    known = replace(events, is_positive=events.is_positive & ~is_new)
    queries = asked(replace(events, at_us=at_us))
    queries = queries.take(np.isin(queries.user_index, np.arange(4)))
    for scorer in fits(known):
        assert mean_ndcg(scorer, queries) > 1.5 * mean_ndcg(Popularity(known), queries)


def test_a_look_at_validation_ends_the_fit_early() -> None:
    events = two_camps()
    watch = build_queries(events, "validation", EVERYTHING)
    for scorer in fits(events, watch):
        assert isinstance(scorer, MatrixFactors | LightGraph)
        assert scorer.epochs < DESCENT.epochs
        assert scorer.epochs % DESCENT.look_every == 0


def test_the_pairwise_loss_is_its_definition() -> None:
    user, taken, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.0]]), torch.ones(1, 2)
    assert float(pairwise_loss(user, taken, other)) == pytest.approx(np.log1p(np.exp(2.5)))


def test_what_was_taken_up_is_hardly_ever_drawn_against() -> None:
    taken = sp.csr_matrix((np.arange(40) < 4).astype(float)[None].repeat(3, axis=0))
    drawn = TakenPairs(taken).draw_others(torch.full((20_000,), 1))
    share = (drawn < 4).float().mean().item()
    assert share == pytest.approx(0.1**2, abs=0.005)  # once drawn again
    counts = torch.bincount(drawn, minlength=40)[4:].float()
    assert counts.std() < 0.1 * counts.mean()


def test_scores_are_those_of_propagation_over_the_training_graph(
    events: Events, sources: Sources
) -> None:
    options = GRAPH.model_copy(update={"friend_weight": 0.5, "descent": SHORT})
    graph = LightGraph(events, sources, options)
    assert sources.friends_UU is not None
    taken = training_matrix(events).toarray()
    links = 0.5 * sources.friends_UU.toarray()
    edges = np.block([[links, taken], [taken.T, np.zeros((taken.shape[1], taken.shape[1]))]])
    root = np.sqrt(np.maximum(edges.sum(axis=1), 1e-12))
    edges = edges / root[:, None] / root
    layers = [array(graph.model.nodes_AD).astype(float)]
    for _ in range(2):
        layers.append(edges @ layers[-1])
    mean = np.mean(layers, axis=0)
    expected = mean[: len(taken)] @ mean[len(taken) :].T
    # Asked with the training history, scoring gives what propagation gave.
    queries = asked(events)
    rows = np.arange(len(queries))
    at_end = np.full(len(queries), events.train_end_us)
    history = before(events, events.training_take_ups(), queries.user_index, at_end)
    scores = graph.score(replace(queries, history=history), rows)
    np.testing.assert_allclose(scores, expected[queries.user_index], rtol=1e-3, atol=1e-5)


def test_friends_speak_for_somebody_without_a_history(events: Events, sources: Sources) -> None:
    queries = asked(events)
    silent = replace(
        queries,
        user_index=np.zeros_like(queries.user_index),
        history=replace(queries.history, end=queries.history.start),
    )
    nobody = replace(events, is_positive=events.is_positive & (events.user_index != 0))
    options = GRAPH.model_copy(update={"descent": SHORT})
    alone = LightGraph(nobody, sources, options).score(silent, np.arange(1))
    assert not alone.any()
    social = options.model_copy(update={"friend_weight": 1.0})
    befriended = LightGraph(nobody, sources, social).score(silent, np.arange(1))
    assert befriended.std() > 0
