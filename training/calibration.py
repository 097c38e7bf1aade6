"""Calibration: scores become probabilities by a logistic curve with two parameters.

In: scores of validation labels, each positive beside sampled negatives. Out: slope and intercept
(Platt 1999). The probability is that of a take-up where take-ups and negatives are equally many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize

from training.dataset import Batches, Examples, TrainingData
from training.loop import VALIDATION_BATCH
from training.model import FusionModel

Floats = npt.NDArray[np.float64]


class Calibration(BaseModel):
    """probability = 1 / (1 + exp(-(slope * score + intercept)))"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = 1.0
    intercept: float = 0.0

    def probability(self, scores: npt.NDArray[np.floating]) -> Floats:
        """Probabilities of scores, of any shape."""
        logits = self.slope * np.asarray(scores, np.float64) + self.intercept
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))  # the sigmoid, without overflow


def fit_calibration(
    scores: npt.NDArray[np.floating], is_positive: npt.NDArray[np.bool_]
) -> Calibration:
    """Fit on scores [n] with their truth, both classes weighted alike.

    Platt's smoothed targets keep the slope finite where scores separate the classes. The slope is
    kept at zero or above: a better score never becomes a lower probability.
    """
    values, num = np.asarray(scores, np.float64), len(scores)
    positives = int(is_positive.sum())
    if not 0 < positives < num:
        raise ValueError(f"calibration needs both classes, got {positives} positives of {num}")
    target = np.where(is_positive, (positives + 1) / (positives + 2), 1 / (num - positives + 2))
    weight = np.where(is_positive, 0.5 / positives, 0.5 / (num - positives))
    center, spread = values.mean(), max(values.std(), 1e-9)
    scaled = (values - center) / spread

    def loss(parameters: Floats) -> tuple[float, Floats]:
        logits = parameters[0] * scaled + parameters[1]
        value = (weight * (np.logaddexp(0.0, logits) - target * logits)).sum()
        error = weight * (0.5 * (1.0 + np.tanh(0.5 * logits)) - target)
        return float(value), np.array([(error * scaled).sum(), error.sum()])

    found = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)]
    )
    slope = float(found.x[0]) / spread
    return Calibration(slope=slope, intercept=float(found.x[1] - slope * center))


@torch.inference_mode()
def sampled_scores(
    model: FusionModel, data: TrainingData, examples: Examples, num_candidates: int | None = None
) -> npt.NDArray[np.float32]:
    """Scores [n, P] of every label's candidates, the first `num_candidates` of them if given."""
    batches = Batches(data, torch.device("cpu"))
    pool = np.arange(examples.item_ids.shape[1])[:num_candidates]
    parts = [np.empty((0, len(pool)), np.float32)]
    for start in range(0, len(examples), VALIDATION_BATCH):
        chosen = np.arange(start, min(start + VALIDATION_BATCH, len(examples)))
        batch = batches.gather(examples, chosen, pool)
        parts.append(model(batch.users, batch.items, batch.item_ids).numpy())
    return np.concatenate(parts)


def labelled_scores(
    model: FusionModel, data: TrainingData, examples: Examples
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The model's scores [m] of each positive and its first negative, and which are positives."""
    return labelled(sampled_scores(model, data, examples, 2), examples.mask[:, :2])


def labelled(
    scores: npt.NDArray[np.floating], there: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Of scores [n, 2] those of candidates that are there, and which of them are positives."""
    is_positive = np.zeros(scores.shape, np.bool_)
    is_positive[:, 0] = True
    return scores[there].astype(np.float32), is_positive[there]
