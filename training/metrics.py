"""Ranking metrics, as pure functions of numpy arrays.

They take which places of each list hold a relevant item and how many relevant items there were to
find, and return one figure a query: averaging is the caller's. Coverage, novelty and diversity take
the lists themselves. Nothing here ranks, samples or averages over users.

Shapes: Q queries, K places of a ranked list, I items, D width of an item vector.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

KS = (5, 10, 20)


def recall(hits_QK: Bools, num_relevant_Q: Ints, k: int) -> Floats:
    """Share of a query's relevant items that stand in the first k places.

    >>> hits = np.array([[True, False, True, False, False]])
    >>> recall(hits, np.array([4]), k=3).tolist()
    [0.5]
    """
    return np.asarray(hits_QK[:, :k].sum(1) / num_relevant_Q)


def precision(hits_QK: Bools, num_relevant_Q: Ints, k: int) -> Floats:
    """Share of the first k places that hold a relevant item; empty places count as wrong.

    >>> hits = np.array([[True, False, True, False, False]])
    >>> precision(hits, np.array([4]), k=5).tolist()
    [0.4]
    """
    return np.asarray(hits_QK[:, :k].sum(1) / k)


def hit_rate(hits_QK: Bools, num_relevant_Q: Ints, k: int) -> Floats:
    """1 where at least one of the first k places is relevant, else 0.

    >>> hits = np.array([[False, False, True, False, False]])
    >>> hit_rate(hits, np.array([1]), k=2).tolist(), hit_rate(hits, np.array([1]), k=3).tolist()
    ([0.0], [1.0])
    """
    return np.asarray(hits_QK[:, :k].any(1), dtype=np.float64)


def mrr(hits_QK: Bools, num_relevant_Q: Ints, k: int) -> Floats:
    """One over the place of the first relevant item, 0 if it is not among the first k.

    >>> hits = np.array([[False, False, False, True, True]])
    >>> mrr(hits, np.array([2]), k=5).tolist()
    [0.25]
    """
    top_Qk = hits_QK[:, :k]
    return np.where(top_Qk.any(1), 1.0 / (top_Qk.argmax(1) + 1), 0.0)


def ndcg(hits_QK: Bools, num_relevant_Q: Ints, k: int) -> Floats:
    """Discounted gain, gain 1 and discount 1/log2(place + 1), over that of the best possible list.

    Järvelin and Kekäläinen 2002. The best list has min(k, relevant) hits in front.

    >>> hits = np.array([[True, False, True, False, False]])
    >>> ndcg(hits, np.array([2]), k=5).round(4).tolist()  # (1 + 1/2) / (1 + 1/log2(3))
    [0.9197]
    """
    discount_k = 1.0 / np.log2(np.arange(2, k + 2))
    best_k = np.concatenate([[0.0], np.cumsum(discount_k)])
    gain_Q = hits_QK[:, :k] @ discount_k[: hits_QK.shape[1]]
    return np.asarray(gain_Q / best_k[np.minimum(num_relevant_Q, k)])


def mean_average_precision(hits_QK: Bools, num_relevant_Q: Ints, k: int) -> Floats:
    """Precision at the place of each hit, summed, over min(k, relevant).

    That divisor makes a perfect list worth 1 at every k; dividing by the hits that were found, as
    some libraries do, gives one lucky hit full marks.

    >>> hits = np.array([[True, False, True, False, False]])
    >>> mean_average_precision(hits, np.array([2]), k=5).round(4).tolist()  # (1/1 + 2/3) / 2
    [0.8333]
    """
    top_Qk = hits_QK[:, :k]
    precision_Qk = np.cumsum(top_Qk, axis=1) / np.arange(1, top_Qk.shape[1] + 1)
    return np.asarray((precision_Qk * top_Qk).sum(1) / np.minimum(num_relevant_Q, k))


RANKING: dict[str, Callable[[Bools, Ints, int], Floats]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "mrr": mrr,
    "hit_rate": hit_rate,
    "map": mean_average_precision,
}


def ranking_metrics(
    hits_QK: Bools, num_relevant_Q: Ints, ks: Sequence[int] = KS
) -> dict[str, Floats]:
    """Every ranking metric at every k, named like "ndcg@10", one figure a query."""
    if len(num_relevant_Q) and num_relevant_Q.min() < 1:
        raise ValueError("a query without a relevant item has no recall: drop it before measuring")
    return {
        f"{name}@{k}": of(hits_QK, num_relevant_Q, k) for k in ks for name, of in RANKING.items()
    }


def coverage(top_QK: Ints, num_available: int, k: int) -> float:
    """Share of the catalogue that somebody was recommended; -1 marks an empty place.

    >>> coverage(np.array([[0, 1], [1, 2], [2, -1]]), num_available=6, k=2)
    0.5
    """
    return len(np.unique(top_QK[:, :k][top_QK[:, :k] >= 0])) / max(num_available, 1)


def novelty(top_QK: Ints, popularity_I: Ints, k: int) -> Floats:
    """Mean surprise of the recommended items in bits: -log2 of the item's share of all take-ups.

    One is added to every count, so that an item nobody took up has a finite surprise. 0 for an
    empty list (Zhou et al. 2010).

    >>> novelty(np.array([[0, 1]]), np.array([3, 0, 1, 0]), k=2).tolist()  # shares 4/8 and 1/8
    [2.0]
    """
    share_I = (popularity_I + 1) / (popularity_I.sum() + len(popularity_I))
    filled_Qk = top_QK[:, :k] >= 0
    bits_Qk = np.where(filled_Qk, -np.log2(share_I)[top_QK[:, :k]], 0.0)
    return np.asarray(bits_Qk.sum(1) / np.maximum(filled_Qk.sum(1), 1))


def diversity(top_QK: Ints, vectors_ID: NDArray[np.float32], k: int) -> Floats:
    """1 - mean cosine over the pairs of a list (Ziegler et al. 2005); 0 for fewer than two items.

    Vectors of length 0 (an item without category or text) are like nothing else.

    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    >>> diversity(np.array([[0, 1], [0, 2]]), vectors, k=2).tolist()
    [0.0, 1.0]
    """
    length_I1 = np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    unit_ID = np.divide(vectors_ID, length_I1, out=np.zeros_like(vectors_ID), where=length_I1 > 0)
    filled_Qk = top_QK[:, :k] >= 0
    lists_QkD = unit_ID[top_QK[:, :k]] * filled_Qk[:, :, None]
    # The sum over ordered pairs is |sum of vectors|^2 less each vector with itself.
    pairs_Q = (lists_QkD.sum(1) ** 2).sum(1) - (lists_QkD**2).sum((1, 2))
    num_Q = filled_Qk.sum(1)
    num_pairs_Q = num_Q * (num_Q - 1)
    return np.where(num_pairs_Q > 0, 1.0 - pairs_Q / np.maximum(num_pairs_Q, 1), 0.0)
