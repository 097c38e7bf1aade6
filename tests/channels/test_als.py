"""ALS: vectors of histories by the definition, repeated fits, planted tastes, new users."""

from dataclasses import replace

import numpy as np

from tests.channels.conftest import EVERYTHING
from tests.channels.planted import two_camps
from training.als import ALS, ALSOptions
from training.descent import mean_ndcg
from training.events import Events
from training.profiles import Popularity
from training.queries import Queries, build_queries
from training.sources import Sources

OPTIONS = ALSOptions(width=4, regularisation=0.5, confidence=5.0)


def test_a_vector_is_the_weighted_least_squares_of_its_history(
    events: Events, sources: Sources, queries: Queries
) -> None:
    scorer = ALS(events, sources, OPTIONS)
    items = scorer.items_ID.astype(float)
    assert sources.strength_UI is not None
    strength = sources.strength_UI.toarray()
    for row in range(len(queries)):
        own = np.unique(queries.history.row(row))
        known = strength[queries.user_index[row], own]
        confidence, target = np.ones(len(items)), np.zeros(len(items))
        confidence[own] = 5.0 * np.where(known > 0, known, 1.0)
        target[own] = 1.0
        # Rows for items, and rows for the penalty: ordinary least squares of both together.
        root = np.sqrt(confidence)
        rows = np.vstack([items * root[:, None], np.sqrt(0.5) * np.eye(4)])
        vector = np.linalg.lstsq(rows, np.append(root * target, np.zeros(4)), rcond=None)[0]
        scores = scorer.score(queries, np.array([row]))[0]
        np.testing.assert_allclose(scores, items @ vector, rtol=1e-3, atol=1e-4)


def test_planted_tastes_are_learnt_and_serve_somebody_new() -> None:
    events = two_camps()
    queries = build_queries(events, "test", EVERYTHING)
    scorer = ALS(events, Sources(), ALSOptions(width=8, regularisation=1.0))
    assert mean_ndcg(scorer, queries) > 1.5 * mean_ndcg(Popularity(events), queries)
    # The same histories, asked by nobody whom training knows.
    rows = np.arange(len(queries))
    nobody = scorer.score(replace(queries, user_index=np.full(len(queries), -1)), rows)
    np.testing.assert_allclose(nobody, scorer.score(queries, rows), atol=1e-5)
