"""Shapley values: known answers, and the axioms on real models."""

import itertools
import math
from typing import cast

import numpy as np
import pytest
import torch

from tests.training_model.test_model import IDS, sides
from tests.training_model.toy import make_model, toy_items, toy_users
from training.attribution import Beside, Floats, attribute, shapley, subsets
from training.config import FUSIONS
from training.model import FusionModel
from training.tokens import SideTokens


class Additive:
    """A stand-in whose score is a constant plus the present sources' worths, and one interaction:
    6 when sources 0 and 1 are both there."""

    sources = ("a", "b", "c")
    worth = torch.tensor([1.0, 10.0, -4.0])

    def score_masked(
        self, user: SideTokens, item: SideTokens, mask_KS: torch.Tensor
    ) -> torch.Tensor:
        there = user.present[:, None] & item.present & mask_KS[:, None, None]
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
    assert contributions[1, 4] == pytest.approx([4.0, 13.0, -4.0])
    assert (baseline == 7.0).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_scores_under_many_masks_are_those_under_each(fusion: str) -> None:
    model = make_model(fusion)
    user, item = sides(model)
    masks_KS = subsets(len(model.sources))[0]
    found = model.score_masked(user, item, masks_KS).detach()
    for mask, scores in zip(masks_KS, found, strict=True):
        alone = model.score(user.masked(mask), item.masked(mask)).detach()
        torch.testing.assert_close(scores, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_contributions_add_up_to_the_score(fusion: str) -> None:
    model = make_model(fusion)
    user, item = sides(model)
    contributions, baseline = shapley(model, user, item)
    score = model.score(user, item).detach().numpy()
    np.testing.assert_allclose(baseline + contributions.sum(-1), score, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_absent_source_contributes_exactly_nothing(fusion: str) -> None:
    model = make_model(fusion)
    users = {k: v for k, v in toy_users(3, seed=1).items() if k != "words"}
    items = {k: v for k, v in toy_items(IDS, seed=2).items() if k != "titles"}
    contributions, _ = shapley(model, model.user_tokens(users), model.item_tokens(items, IDS))
    assert (abs(contributions[..., model.sources.index("text")]) < 1e-6).all()


def test_equals_the_mean_over_all_orders() -> None:
    """The definition itself, one order at a time."""
    model = make_model()
    user, item = sides(model, 1)
    expected = np.zeros((len(IDS), len(model.sources)))
    for order in itertools.permutations(range(len(model.sources))):
        mask = torch.zeros(len(model.sources), dtype=torch.bool)
        before = model.score(user.masked(mask), item.masked(mask))[0]
        for source in order:
            mask = mask.clone()
            mask[source] = True
            after = model.score(user.masked(mask), item.masked(mask))[0]
            expected[:, source] += (after - before).detach().numpy()
            before = after
    expected /= math.factorial(len(model.sources))
    np.testing.assert_allclose(shapley(model, user, item)[0][0], expected, atol=1e-6, rtol=1e-5)


def beside(model: FusionModel, num_users: int, num_items: int) -> Beside:
    """Channels that live on one source, on two, on all and on none."""
    lives = np.zeros((num_users, 4, len(model.sources)), np.bool_)
    lives[:, 0, 1], lives[:, 1, :2], lives[:, 2] = True, True, True
    lives[0, 1, 0] = False  # of the first user nothing is known in one of them
    terms = np.random.default_rng(3).standard_normal((num_users, num_items, 4))
    return Beside(np.linspace(0.5, 2.0, num_users), terms, lives)


def value(
    model: FusionModel, user: SideTokens, item: SideTokens, own: Beside, mask: torch.Tensor
) -> Floats:
    """What the sources in the mask are worth together: [B, C]."""
    logits = model.score(user.masked(mask), item.masked(mask)).detach().numpy()
    there = np.asarray((own.lives_BLS <= mask.numpy()).all(-1))
    return np.asarray(own.weight_B[:, None] * logits + (own.terms_BCL @ there[..., None])[..., 0])


def test_channels_beside_the_model_equal_the_mean_over_all_orders() -> None:
    model = make_model()
    user, item = sides(model, 2)
    own = beside(model, 2, len(IDS))
    found = attribute(model, user, item, own)
    expected = np.zeros_like(found.contributions_BCS)
    nothing, everything = (torch.full((len(model.sources),), b) for b in (False, True))
    for order in itertools.permutations(range(len(model.sources))):
        mask = nothing.clone()
        before = value(model, user, item, own, mask)
        for source in order:
            mask = mask.clone()
            mask[source] = True
            after = value(model, user, item, own, mask)
            expected[..., source] += after - before
            before = after
    expected /= math.factorial(len(model.sources))
    np.testing.assert_allclose(found.contributions_BCS, expected, atol=1e-5, rtol=1e-5)
    whole = value(model, user, item, own, everything)
    np.testing.assert_allclose(found.scores_BC, whole, atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        found.baseline_BC, value(model, user, item, own, nothing), atol=1e-5, rtol=0
    )
    for source in range(len(model.sources)):
        mask = everything.clone()
        mask[source] = False
        lost = whole - value(model, user, item, own, mask)
        np.testing.assert_allclose(found.removal_BCS[..., source], lost, atol=1e-5, rtol=0)


def test_too_many_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 10 sources"):
        subsets(11)
