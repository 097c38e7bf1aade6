"""Tokens in two steps, as serving makes them, are those that training makes in one."""

import dataclasses

import pytest
import torch

from tests.training_model.toy import DAY_US, make_model, toy_items
from training.config import FUSIONS
from training.projector import ViewBatch
from training.tokens import SideTokens

IDS = torch.arange(12)  # the first is an item without an id


def flat(tokens: SideTokens) -> dict[str, torch.Tensor]:
    own = {"tokens": tokens.tokens, "present": tokens.present, "prior": tokens.prior}
    return own | {
        f"{kind} {name}": tensor
        for kind in ("keys", "weights", "vectors")
        for name, tensor in getattr(tokens, kind).items()
    }


def later(batches: dict[str, ViewBatch], days: int) -> dict[str, ViewBatch]:
    return {
        name: dataclasses.replace(batch, at_us=batch.at_us + days * DAY_US)
        for name, batch in batches.items()
    }


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("days", [0, 300])
@torch.inference_mode()
def test_what_is_prepared_at_one_instant_is_finished_at_any(fusion: str, days: int) -> None:
    model, batches = make_model(fusion), toy_items(IDS, seed=2)
    batches["titles"] = dataclasses.replace(
        batches["titles"], rows=torch.where(IDS % 3 == 0, -1, batches["titles"].rows)
    )
    prepared = model.items.prepare(model.tables, batches, IDS)
    moving = {name: later(batches, days)[name] for name in model.items.moving(batches)}
    assert list(moving) == ["attributes"]
    found = flat(model.items.finish(model.tables, prepared, moving))
    expected = flat(model.item_tokens(later(batches, days), IDS))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
