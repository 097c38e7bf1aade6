"""Classification metrics against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error

from training.classification import (
    auc,
    best_threshold,
    calibration_error,
    classification_metrics,
    classify,
    log_loss,
    threshold_metrics,
)


@pytest.fixture(params=range(5))
def pairs(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties and labels that follow them."""
    rng = np.random.default_rng(request.param)
    probabilities = np.round(rng.beta(1, 2, size=400), 2)
    return probabilities, rng.random(400) < probabilities


def test_metrics_agree_with_scikit_learn(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = pairs
    ours = threshold_metrics(probabilities, labels, 0.4)
    called = probabilities >= 0.4
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, called))
    assert ours["precision"] == pytest.approx(sk.precision_score(labels, called))
    assert ours["recall"] == pytest.approx(sk.recall_score(labels, called))
    assert ours["f1"] == pytest.approx(sk.f1_score(labels, called))
    assert auc(probabilities, labels) == pytest.approx(sk.roc_auc_score(labels, probabilities))
    inner = np.clip(probabilities, 1e-12, 1 - 1e-12)
    assert log_loss(probabilities, labels) == pytest.approx(sk.log_loss(labels, inner))


def test_calibration_error_agrees_with_torchmetrics(
    pairs: tuple[np.ndarray, np.ndarray],
) -> None:
    probabilities, labels = pairs
    shifted = np.clip(probabilities + 0.003, 0, 1)  # off the edges of bins, which we close below
    theirs = binary_calibration_error(
        torch.tensor(shifted), torch.tensor(labels.astype(int)), n_bins=10
    )
    assert calibration_error(shifted, labels) == pytest.approx(theirs.item(), abs=1e-6)


def test_best_threshold_has_the_greatest_f1(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = pairs
    chosen = threshold_metrics(probabilities, labels, best_threshold(probabilities, labels))["f1"]
    every = [threshold_metrics(probabilities, labels, t)["f1"] for t in np.unique(probabilities)]
    assert chosen == pytest.approx(max(every))


def test_one_class_has_no_auc_and_stays_valid_json() -> None:
    figures = classify(np.array([0.2]), np.array([True]), np.array([0.2]), np.array([True]))
    assert figures["auc"] is None
    assert figures["reliability_mean"][0] is None  # type: ignore[index]


def test_scores_outside_0_and_1_are_refused() -> None:
    with pytest.raises(ValueError, match="not in \\[0, 1\\]"):
        classification_metrics(np.array([0.5, 1.5]), np.array([True, False]), 0.5)
