"""Hiding parts of a row: what a trial's score is, and that hiding more of what helps lowers it."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.training_model.toy import make_model, toy_items, toy_users
from training.attribution import Attribution, Hidden, Trial, attribute, trial_scores
from training.config import FUSIONS
from training.projector import ViewBatch

IDS = torch.arange(1, 7)


def whole_scores(
    fusion: str = "attention", users: dict[str, ViewBatch] | None = None
) -> list[float]:
    model = make_model(fusion)
    user = model.user_tokens(users or toy_users(1, seed=1))
    scores: list[float] = model.score(user, model.item_tokens(toy_items(IDS, 2), IDS))[0].tolist()
    return scores


def scores_of(trials: list[Trial], fusion: str = "attention") -> list[float]:
    model = make_model(fusion)
    found: list[float] = trial_scores(
        model, toy_users(1, seed=1), toy_items(IDS, 2), IDS, trials
    ).tolist()
    return found


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_trial_that_hides_nothing_is_the_score(fusion: str) -> None:
    trials = [Trial(item) for item in range(len(IDS))]
    assert scores_of(trials, fusion) == pytest.approx(whole_scores(fusion), abs=1e-5)


def test_hiding_the_last_entry_is_never_having_had_it() -> None:
    users = toy_users(1, seed=1)
    shorter = dict(users["history"].columns)
    shorter["sequence:recent"] = shorter["sequence:recent"][:, :-1]
    history = dataclasses.replace(users["history"], columns=shorter)
    expected = whole_scores(users={**users, "history": history})
    hidden = (Hidden("history", "recent", 5),)
    assert scores_of([Trial(i, hidden) for i in range(6)]) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(whole_scores(), abs=1e-5)


def test_hiding_a_row_is_having_no_such_view() -> None:
    users = {name: batch for name, batch in toy_users(1, seed=1).items() if name != "words"}
    hidden = (Hidden("words"),)
    found = scores_of([Trial(i, hidden) for i in range(6)])
    assert found == pytest.approx(whole_scores(users=users), abs=1e-5)


def test_a_vector_is_hidden_as_zeros_and_what_is_not_there_hides_nothing() -> None:
    users = toy_users(1, seed=1)
    none = {"embedding:vector": torch.zeros(1, 6), "numeric": torch.zeros(1, 0)}
    zeroed = {**users, "words": dataclasses.replace(users["words"], columns=none)}
    vector, missing = (Hidden("words", "vector"),), (Hidden("words", "vector", 3),)
    assert scores_of([Trial(0, vector)]) == pytest.approx(whole_scores(users=zeroed)[:1], abs=1e-5)
    outside = (Hidden("history", "recent", 99), Hidden("history", "no such field"))
    assert scores_of([Trial(1, outside)]) == pytest.approx(whole_scores()[1:2], abs=1e-5)
    assert missing != vector


def test_trials_do_not_touch_each_other_or_the_rows() -> None:
    users, items = toy_users(1, seed=1), toy_items(IDS, 2)
    before = {k: c.clone() for k, c in users["history"].columns.items()}
    trials = [
        Trial(0, (Hidden("history", "recent", 0),)),
        Trial(0),
        Trial(3, of_item=(Hidden("titles"),)),
        Trial(0, (Hidden("history", "recent", 1), Hidden("friends"))),
    ]
    together = trial_scores(make_model(), users, items, IDS, trials)
    alone = [trial_scores(make_model(), users, items, IDS, [one])[0] for one in trials]
    torch.testing.assert_close(together, torch.stack(alone))
    assert all(torch.equal(users["history"].columns[k], c) for k, c in before.items())


def test_deletion_and_insertion_agree_with_the_attribution() -> None:
    """Removal is what one forward pass without the source says; the sum is the score to 1e-5."""
    model = make_model()
    user = model.user_tokens(toy_users(3, seed=1))
    item = model.item_tokens(toy_items(IDS, 2), IDS)
    found = attribute(model, user, item)
    score = model.score(user, item).detach().numpy()
    np.testing.assert_allclose(found.scores_BC, score, atol=1e-5, rtol=0)
    for source in range(len(model.sources)):
        keep = torch.ones(len(model.sources), dtype=torch.bool)
        keep[source] = False
        without = model.score(user.masked(keep), item.masked(keep)).detach().numpy()
        np.testing.assert_allclose(
            found.removal_BCS[..., source], score - without, atol=1e-5, rtol=0
        )


def test_of_sources_that_count_nearly_alike_the_one_leads_whose_removal_costs_most() -> None:
    def leading(shapley: list[float], removal: list[float]) -> int:
        found = Attribution(np.array([[shapley]]), np.zeros((1, 1)), np.array([[removal]]))
        return int(found.leading_sources()[0, 0])

    assert leading([3.0, 2.0, 0.0], [1.0, 9.0, 0.0]) == 0  # too far behind
    assert leading([3.0, 2.5, 0.0], [1.0, 2.0, 9.0]) == 1
    assert leading([-1.0, -3.0, -1.1], [0.0, 5.0, 0.5]) == 2
