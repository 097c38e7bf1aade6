"""Shapley values: known answers, and the axioms on real models."""

import itertools
import math
from typing import cast

import pytest
import torch

from tests.training_model.test_model import IDS, sides
from tests.training_model.toy import make_model, toy_items, toy_users
from training.attribution import shapley, subsets
from training.config import FUSIONS
from training.model import FusionModel
from training.tokens import SideTokens


class Additive:
    """A stand-in whose score is a constant plus the present sources' worths, and one interaction:
    6 when sources 0 and 1 are both there."""

    sources = ("a", "b", "c")
    worth = torch.tensor([1.0, 10.0, -4.0])

    def score(self, user: SideTokens, item: SideTokens) -> torch.Tensor:
        there = user.present[:, None] & item.present
        return 7 + (there * self.worth).sum(-1) + 6 * there[..., :2].all(-1)


def test_known_answer() -> None:
    def side(*shape: int) -> SideTokens:
        return SideTokens(
            torch.zeros(*shape, 3, 1),
            torch.ones(*shape, 3, dtype=torch.bool),
            torch.zeros(*shape, 3),
            {},
            {},
            {},
        )

    contributions, baseline = shapley(cast(FusionModel, Additive()), side(2), side(2, 5))
    assert contributions.shape == (2, 5, 3)
    torch.testing.assert_close(contributions[1, 4], torch.tensor([4.0, 13.0, -4.0]).double())
    torch.testing.assert_close(baseline, torch.full((2, 5), 7.0).double())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_contributions_add_up_to_the_score(fusion: str) -> None:
    model = make_model(fusion)
    user, item = sides(model)
    contributions, baseline = shapley(model, user, item)
    score = model.score(user, item).detach().double()
    torch.testing.assert_close(baseline + contributions.sum(-1), score, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_absent_source_contributes_exactly_nothing(fusion: str) -> None:
    model = make_model(fusion)
    users = {k: v for k, v in toy_users(3, seed=1).items() if k != "words"}
    items = {k: v for k, v in toy_items(IDS, seed=2).items() if k != "titles"}
    contributions, _ = shapley(model, model.user_tokens(users), model.item_tokens(items, IDS))
    assert (contributions[..., model.sources.index("text")].abs() < 1e-6).all()


def test_equals_the_mean_over_all_orders() -> None:
    """The definition itself, one order at a time."""
    model = make_model()
    user, item = sides(model, 1)
    expected = torch.zeros(len(IDS), len(model.sources), dtype=torch.float64)
    for order in itertools.permutations(range(len(model.sources))):
        mask = torch.zeros(len(model.sources), dtype=torch.bool)
        before = model.score(user.masked(mask), item.masked(mask))[0]
        for source in order:
            mask = mask.clone()
            mask[source] = True
            after = model.score(user.masked(mask), item.masked(mask))[0]
            expected[:, source] += (after - before).detach().double()
            before = after
    expected /= math.factorial(len(model.sources))
    torch.testing.assert_close(shapley(model, user, item)[0][0], expected, atol=1e-6, rtol=1e-5)


def test_too_many_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 10 sources"):
        subsets(11)
