"""Outcomes beside the ranking: what they are, that they are learnt, and that ranking is as before
without them."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.training_data import tiny
from tests.training_model.toy import NUM_ITEMS, toy_data, toy_spec
from training.classification import auc
from training.config import RunConfig
from training.dataset import Batches, TrainingData
from training.events import Events
from training.heads import outcome_loss
from training.labels import first_take_ups, outcomes_of
from training.workers import fit_here

RUN = RunConfig(epochs=3, batch_size=64, negatives=8, learning_rate=0.01, workers=0, seed=3)


def diary() -> Events:
    """One user and three items: seen, rated twice; only seen; rated and disliked, then rated
    better, which is when it is taken up."""
    log = [
        (0, "view", np.nan, True),
        (0, "rate", 4.0, True),
        (0, "rate", 1.0, False),
        (1, "view", np.nan, True),
        (2, "rate", 1.0, False),
        (2, "rate", 5.0, True),
    ]
    items, actions, values, positive = zip(*log, strict=True)
    return Events(
        user_ids=np.array(["ann"], object),
        item_ids=np.array(["a", "b", "c"], object),
        available_at_us=np.zeros(3, np.int64),
        user_index=np.zeros(6, np.int64),
        item_index=np.array(items),
        at_us=np.arange(1, 7),
        is_positive=np.array(positive),
        train_end_us=100,
        validation_end_us=200,
        actions=("rate", "view"),
        action_index=np.array([action == "view" for action in actions], np.int16),
        values=np.array(values, np.float32),
    )


def test_outcomes_by_hand() -> None:
    events = diary()
    positives = first_take_ups(events, "train")
    assert positives.item_index.tolist() == [0, 1, 2]
    found = outcomes_of(events, positives)
    assert found["rate"].tolist() == [1, 0, 1]
    assert found["view"].tolist() == [1, 1, 0]
    # The ratings are 4, 1, 1 and 5: mean 2.75. Of c the dislike came before the take-up.
    expected = (np.array([4.0, np.nan, 5.0]) - 2.75) / np.std([4, 1, 1, 5])
    np.testing.assert_allclose(found["rate.value"], expected, rtol=1e-5)
    assert "view.value" not in found


def test_what_happens_after_the_period_is_not_its_outcome() -> None:
    events = dataclasses.replace(diary(), train_end_us=2, validation_end_us=2)
    found = outcomes_of(events, first_take_ups(events, "train"))
    assert found["rate"].tolist() == [0]
    assert "rate.value" not in found


def test_events_without_actions_have_no_outcomes() -> None:
    events = tiny.events_of(tiny.random_log(seed=7))
    assert outcomes_of(events, first_take_ups(events, "train")) == {}


def with_outcomes(data: TrainingData) -> TrainingData:
    """Items of the first half are the ones that people rate, and rate the lower the further on."""

    def planted(ids: np.ndarray) -> dict[str, np.ndarray]:
        rated = ids <= NUM_ITEMS // 2
        value = np.where(rated, 1.0 - ids / 10, np.nan)
        return {"rate": rated.astype(np.float32), "rate.value": value.astype(np.float32)}

    return dataclasses.replace(
        data,
        examples={
            split: dataclasses.replace(own, outcomes=planted(own.item_ids[:, 0]))
            for split, own in data.examples.items()
        },
    )


def test_outcomes_are_learnt_and_ranking_is_still_learnt() -> None:
    data = with_outcomes(toy_data(600, 400, seed=1))
    spec = toy_spec(outcomes=("rate", "rate.value"), id_dropout=0.0, dropout=0.0)
    more = {"outcome_weight": 3.0, "epochs": 8, "patience": 8, "learning_rate": 0.03}
    state = fit_here(spec, data, RUN.model_copy(update=more))
    model = spec.build(0).eval()
    model.load_state_dict(state["model"])
    batch = Batches(data, torch.device("cpu")).gather(
        data.validation, np.arange(400), np.arange(16)
    )
    with torch.no_grad():
        assert model(batch.users, batch.items, batch.item_ids).shape == (400, 16)
        user = model.user_tokens(batch.users)
        item = model.item_tokens(batch.items, batch.item_ids.flatten())
        item = item.map(lambda tensor: tensor.view(400, 16, *tensor.shape[1:]))
        rate_B, value_B = model.outcomes(*model.fused(user, item))[:, 0].double().numpy().T
    rated = data.validation.outcomes["rate"] == 1
    assert auc(rate_B, rated) > 0.9
    true = data.validation.outcomes["rate.value"][rated]
    assert np.corrcoef(value_B[rated], true)[0, 1] > 0.8
    assert state["reports"][-1]["validation_loss"] < np.log(16) - 0.3  # of 16 candidates


def test_the_loss_by_hand() -> None:
    logits_BCA = torch.zeros(2, 2, 2)
    logits_BCA[0, 0, 1] = 3.0
    outcomes = {"rate": torch.tensor([1.0, 0.0]), "rate.value": torch.tensor([1.0, torch.nan])}
    mask_BC = torch.tensor([[True, True], [True, False]])
    loss = outcome_loss(logits_BCA, outcomes, ("rate", "rate.value"), mask_BC)
    assert float(loss) == pytest.approx((np.log(2) + 4.0) / 2)


def test_an_unknown_outcome_is_named() -> None:
    data = with_outcomes(toy_data(60, 40, seed=1))
    with pytest.raises(ValueError, match=r"names buy, but the data set has rate, rate.value"):
        fit_here(toy_spec(outcomes=("rate", "buy")), data, RUN)
