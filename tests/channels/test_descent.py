"""Fitting by gradient: repeats by seed, ends early, keeps the best state, refuses inf."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from training.descent import DescentOptions, descend, seeded, shuffled

OPTIONS = DescentOptions(epochs=40, batch_size=2, learning_rate=0.1, look_every=1, patience=3)


class Point(nn.Module):
    """One number, pulled down for ever."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([start]))

    def loss(self, examples: Tensor) -> Tensor:
        return self.at.sum() + 0.0 * examples.sum()


def batches() -> tuple[Tensor, ...]:
    return shuffled(4, 2)


def test_the_best_state_is_kept_and_patience_ends_the_fit() -> None:
    point, seen = Point(), []

    def look() -> float:
        seen.append(point.at.item())
        return -abs(point.at.item())  # best where the point crosses 0

    epochs = descend(point, batches, point.loss, OPTIONS, look)
    assert abs(point.at.item()) == min(abs(value) for value in seen)
    assert len(seen) == epochs + OPTIONS.patience < OPTIONS.epochs


def test_without_a_look_all_epochs_are_made() -> None:
    point = Point()
    assert descend(point, batches, point.loss, OPTIONS) == OPTIONS.epochs
    assert point.at.item() < -5.0


def test_the_learning_rate_falls_evenly_to_its_last_share() -> None:
    # Steps of Adam on an even slope are as long as the learning rate.
    point, at = Point(), [1.0]
    options = OPTIONS.model_copy(update={"epochs": 5, "last_share": 0.2})

    def look() -> float:
        at.append(point.at.item())
        return float(len(at))

    descend(point, lambda: shuffled(1, 1), point.loss, options, look)
    steps = [before - after for before, after in pairwise(at)]
    assert steps == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02], rel=1e-3)


def test_a_loss_that_is_not_finite_ends_the_fit() -> None:
    point = Point(float("inf"))
    with pytest.raises(FloatingPointError, match="learning rate"):
        descend(point, batches, point.loss, OPTIONS)


def test_a_seed_repeats_and_disturbs_nobody() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(1):
        first = torch.rand(1)
    assert torch.equal(torch.rand(2), expected)
    with seeded(1):
        assert torch.equal(torch.rand(1), first)
    with seeded(2):
        assert not torch.equal(torch.rand(1), first)


def test_an_epoch_takes_every_example_once() -> None:
    parts = shuffled(10, 4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert sorted(torch.cat(parts).tolist()) == list(range(10))
