"""Metrics, as pure functions of numpy arrays.

Ranking metrics take which places of each list hold a relevant item and how many relevant items
there were to find, and return one figure a query: averaging is the caller's. Classification metrics
take probabilities (or scores) and 0/1 labels of scored pairs. Nothing here ranks or samples.

Shapes: Q queries, K places of a ranked list, I items, N scored pairs, D width of an item vector.
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


def auc(scores_N: Floats, labels_N: Bools) -> float:
    """Chance that a random positive scores above a random negative, ties half; nan for one class.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8, 0.8]), np.array([0, 0, 1, 1, 0]).astype(bool))
    0.5833333333333334
    """
    num_positive = int(labels_N.sum())
    num_negative = len(labels_N) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    _, inverse_N, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(counts) - (counts - 1) / 2)[inverse_N]
    above = rank_N[labels_N].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def log_loss(probabilities_N: Floats, labels_N: Bools) -> float:
    """Mean negative log likelihood in nats; probabilities are held 1e-12 away from 0 and 1.

    >>> round(log_loss(np.array([0.9, 0.1, 0.8, 0.2, 0.5]), np.array([1, 0, 1, 0, 1]) > 0), 4)
    0.2700
    """
    p_N = np.clip(probabilities_N, 1e-12, 1 - 1e-12)
    return float(-np.where(labels_N, np.log(p_N), np.log1p(-p_N)).mean())


def threshold_metrics(scores_N: Floats, labels_N: Bools, threshold: float) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of calling every score >= threshold positive.

    A ratio without a denominator (nothing called positive) is 0.

    >>> threshold_metrics(np.array([0.9, 0.8, 0.4, 0.3, 0.1]), np.array([1, 0, 1, 0, 0]) > 0, 0.5)
    {'accuracy': 0.6, 'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    called_N = scores_N >= threshold
    right = int((called_N & labels_N).sum())
    num_called, num_positive = int(called_N.sum()), int(labels_N.sum())
    return {
        "accuracy": float((called_N == labels_N).mean()),
        "precision": right / max(num_called, 1),
        "recall": right / max(num_positive, 1),
        "f1": 2 * right / max(num_called + num_positive, 1),
    }


def best_threshold(scores_N: Floats, labels_N: Bools) -> float:
    """The score at which F1 is greatest (of equal ones the highest). Choose it on validation data.

    >>> best_threshold(np.array([0.9, 0.8, 0.4, 0.3, 0.1]), np.array([1, 0, 1, 0, 0]) > 0)
    0.4
    """
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N]
    right_N = np.cumsum(labels_N[order_N])
    f1_N = 2 * right_N / (np.arange(1, len(order_N) + 1) + labels_N.sum())
    # A threshold takes all of a run of equal scores, so only the last of a run is a choice.
    last_N = np.append(sorted_N[1:] != sorted_N[:-1], True)
    return float(sorted_N[np.argmax(np.where(last_N, f1_N, -1.0))])


def reliability(
    probabilities_N: Floats, labels_N: Bools, num_bins: int = 10
) -> tuple[Floats, Floats, Ints]:
    """Mean probability, share of positives and number of pairs, per equal-width bin; empty: nan, 0.

    >>> mean, share, num = reliability(np.array([0.1, 0.2, 0.8, 0.9, 1.0]), np.arange(5) > 1, 2)
    >>> mean.round(2).tolist(), share.tolist(), num.tolist()
    ([0.15, 0.9], [0.0, 1.0], [2, 3])
    """
    bin_N = np.minimum((probabilities_N * num_bins).astype(np.int64), num_bins - 1)
    num = np.bincount(bin_N, minlength=num_bins)
    divisor = np.where(num > 0, num, np.nan)
    mean = np.bincount(bin_N, weights=probabilities_N, minlength=num_bins) / divisor
    return mean, np.bincount(bin_N, weights=labels_N, minlength=num_bins) / divisor, num


def calibration_error(probabilities_N: Floats, labels_N: Bools, num_bins: int = 10) -> float:
    """Expected calibration error: |share of positives - mean probability|, weighted by bin size.

    >>> round(calibration_error(np.array([0.1, 0.2, 0.8, 0.9, 1.0]), np.arange(5) > 1, 2), 4)
    0.12
    """
    mean, share, num = reliability(probabilities_N, labels_N, num_bins)
    return float(np.nansum(np.abs(mean - share) * num) / max(num.sum(), 1))


def classification_metrics(
    probabilities_N: Floats, labels_N: Bools, threshold: float
) -> dict[str, float]:
    """Every classification metric of calibrated probabilities, at a threshold chosen beforehand.

    Raises ValueError for what is not a probability: scores must be calibrated first.
    """
    if len(probabilities_N) == 0:
        raise ValueError("no scored pairs: classification metrics need at least one")
    low, high = float(np.min(probabilities_N)), float(np.max(probabilities_N))
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"probabilities lie in [{low}, {high}], not in [0, 1]: calibrate scores")
    return {
        **threshold_metrics(probabilities_N, labels_N, threshold),
        "auc": auc(probabilities_N, labels_N),
        "log_loss": log_loss(probabilities_N, labels_N),
        "calibration_error": calibration_error(probabilities_N, labels_N),
        "threshold": threshold,
        "num_pairs": float(len(labels_N)),
        "share_positive": float(labels_N.mean()),
    }
