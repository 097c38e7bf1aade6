"""Tokens as serving makes them, in two steps or of one user, are those that training makes."""

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.training_model.toy import (
    DAY_US,
    make_model,
    toy_items,
    toy_schema,
    toy_sizes,
    toy_users,
)
from training.config import FUSIONS, ModelConfig
from training.model import FusionModel
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


def without_counters() -> FusionModel:
    """A model whose items have ages, but nothing that is counted."""
    schema = toy_schema()
    views = tuple(
        view.model_copy(
            update={"fields": tuple(f for f in view.fields if f.kind not in ("counter", "clock"))}
        )
        for view in schema.views
    )
    torch.manual_seed(0)
    schema = schema.model_copy(update={"views": views})
    return FusionModel(schema, toy_sizes(), ModelConfig(width=16)).eval()


def later(batches: dict[str, ViewBatch], days: int) -> dict[str, ViewBatch]:
    return {
        name: dataclasses.replace(batch, at_us=batch.at_us + days * DAY_US)
        for name, batch in batches.items()
    }


@pytest.mark.parametrize(
    "make", [*(partial(make_model, fusion) for fusion in FUSIONS), without_counters]
)
@pytest.mark.parametrize("days", [0, 300])
@torch.inference_mode()
def test_what_is_prepared_at_one_instant_is_finished_at_any(
    make: Callable[[], FusionModel], days: int
) -> None:
    model, batches = make(), toy_items(IDS, seed=2)
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


@pytest.mark.parametrize("rows", [[0], [-1]])
@torch.inference_mode()
def test_a_single_user_is_what_the_user_is_among_others(rows: list[int]) -> None:
    """Nothing is gathered for one user of one row; a view that is not there still says nothing."""
    model, user = make_model(), toy_users(1, seed=3)
    user["words"] = dataclasses.replace(user["words"], rows=torch.tensor(rows))
    assert user["words"].is_single == (rows == [0])
    assert user["history"].is_single
    among = {
        name: ViewBatch(
            batch.columns, torch.cat([batch.rows, torch.tensor([-1, 0])]), batch.at_us.repeat(3)
        )
        for name, batch in user.items()
    }
    assert not any(batch.is_single for batch in among.values())
    found, expected = flat(model.user_tokens(user)), flat(model.user_tokens(among))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        torch.testing.assert_close(found[name], tensor[:1], rtol=1e-5, atol=1e-6)
