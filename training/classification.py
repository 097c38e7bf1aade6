"""Metrics of scored pairs, as pure functions of probabilities (or scores) and 0/1 labels.

`classify` is what the training job calls: it chooses the threshold on validation pairs and measures
test pairs. Calibrating the scores, and choosing the pairs, is the caller's.

Shapes: N scored pairs.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Figures = dict[str, float | list[float | None] | list[int] | None]


def classify(
    validation_probabilities: Floats,
    validation_labels: Bools,
    probabilities_N: Floats,
    labels_N: Bools,
) -> Figures:
    """All classification figures of test pairs, the threshold chosen on validation by F1.

    The result goes into metrics.json and draws the reliability curve. Raises ValueError for what
    is not a probability.
    """
    threshold = best_threshold(validation_probabilities, validation_labels)
    figures = classification_metrics(probabilities_N, labels_N, threshold)
    mean, share, num = reliability(probabilities_N, labels_N)
    return {
        **{name: None if math.isnan(figure) else figure for name, figure in figures.items()},
        "reliability_mean": [None if math.isnan(m) else float(m) for m in mean],
        "reliability_share": [None if math.isnan(m) else float(m) for m in share],
        "reliability_num": [int(n) for n in num],
    }


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
    0.27
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
