"""Ranking metrics against torchmetrics, and the laws they keep."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import retrieval as reference

from training.metrics import KS, RANKING, coverage, diversity, novelty, ranking_metrics

NUM_ITEMS = 30


def ranked_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores without ties, relevance, and the hits of the list ordered by score: one query."""
    rng = np.random.default_rng(seed)
    scores = (rng.permutation(NUM_ITEMS) + 1) / NUM_ITEMS  # above 0: torchmetrics drops the rest
    relevant = rng.random(NUM_ITEMS) < rng.choice([0.05, 0.3, 0.9])
    relevant[rng.integers(NUM_ITEMS)] = True
    return scores, relevant, relevant[np.argsort(-scores)][None, :]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [1, 5, 10, 20])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("ndcg", reference.retrieval_normalized_dcg),
        ("recall", reference.retrieval_recall),
        ("precision", reference.retrieval_precision),
        ("mrr", reference.retrieval_reciprocal_rank),
        ("hit_rate", reference.retrieval_hit_rate),
    ],
)
def test_metrics_agree_with_torchmetrics(name: str, theirs: object, seed: int, k: int) -> None:
    scores, relevant, hits = ranked_case(seed)
    ours = RANKING[name](hits, relevant.sum(keepdims=True), k)
    expected = theirs(torch.tensor(scores), torch.tensor(relevant), top_k=k)  # type: ignore[operator]
    assert ours[0] == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_of_whole_list_agrees_with_torchmetrics(seed: int) -> None:
    # At shorter lists torchmetrics divides by the hits found, we by what could be found.
    scores, relevant, hits = ranked_case(seed)
    ours = RANKING["map"](hits, relevant.sum(keepdims=True), NUM_ITEMS)
    expected = reference.retrieval_average_precision(torch.tensor(scores), torch.tensor(relevant))
    assert ours[0] == pytest.approx(expected.item(), abs=1e-6)


hit_lists = st.lists(st.lists(st.booleans(), min_size=20, max_size=20), min_size=1, max_size=5)


@given(hit_lists, st.integers(1, 40))
def test_every_metric_lies_between_0_and_1(rows: list[list[bool]], more: int) -> None:
    hits = np.array(rows)
    for values in ranking_metrics(hits, hits.sum(1) + more).values():
        assert ((values >= 0) & (values <= 1)).all()


@given(st.integers(1, 40))
def test_perfect_list_is_worth_1(num_relevant: int) -> None:
    hits = (np.arange(20) < num_relevant)[None, :]
    metrics = ranking_metrics(hits, np.array([num_relevant]))
    for k in KS:
        for name in ("ndcg", "map", "mrr", "hit_rate"):
            assert metrics[f"{name}@{k}"][0] == pytest.approx(1.0)
        assert metrics[f"recall@{k}"][0] == min(k, num_relevant) / num_relevant
        assert metrics[f"precision@{k}"][0] == min(k, num_relevant) / k


@given(hit_lists, st.integers(1, 18), st.integers(0, 10))
def test_moving_a_hit_forward_never_hurts(rows: list[list[bool]], place: int, more: int) -> None:
    hits = np.array(rows)
    moved = hits.copy()
    moved[:, place - 1 : place + 1] = np.sort(hits[:, place - 1 : place + 1])[:, ::-1]
    num = hits.sum(1) + more + 1
    before, after = ranking_metrics(hits, num), ranking_metrics(moved, num)
    for name, values in before.items():
        assert (after[name] >= values - 1e-12).all()


@given(hit_lists)
def test_longer_lists_never_lose_recall_or_hits(rows: list[list[bool]]) -> None:
    hits = np.array(rows)
    metrics = ranking_metrics(hits, hits.sum(1) + 1)
    for name in ("recall", "hit_rate", "mrr"):
        assert (metrics[f"{name}@5"] <= metrics[f"{name}@10"]).all()
        assert (metrics[f"{name}@10"] <= metrics[f"{name}@20"]).all()


def test_query_without_relevant_items_is_refused() -> None:
    with pytest.raises(ValueError, match="without a relevant item"):
        ranking_metrics(np.zeros((1, 20), dtype=bool), np.array([0]))


@given(st.integers(0, 1000))
def test_relabelling_items_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    top = np.stack([rng.permutation(12)[:5] for _ in range(4)])
    top[0, 3:] = -1
    counts, vectors = rng.integers(9, size=12), rng.normal(size=(12, 3)).astype(np.float32)
    new_name = rng.permutation(12)
    renamed = np.where(top >= 0, new_name[top], -1)
    new_counts, new_vectors = np.empty_like(counts), np.empty_like(vectors)
    new_counts[new_name], new_vectors[new_name] = counts, vectors
    assert coverage(top, 12, 5) == coverage(renamed, 12, 5)
    np.testing.assert_allclose(novelty(top, counts, 5), novelty(renamed, new_counts, 5))
    np.testing.assert_allclose(
        diversity(top, vectors, 5), diversity(renamed, new_vectors, 5), atol=1e-6
    )


def test_diversity_is_one_less_the_mean_cosine_of_pairs() -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [unit[a] @ unit[b] for a in range(4) for b in range(a)]
    found = diversity(np.array([[0, 1, 2, 3, -1]]), vectors, 5)
    assert found[0] == pytest.approx(1 - np.mean(pairs), abs=1e-6)
