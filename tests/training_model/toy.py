"""A toy with a known truth: two camps of users and items; who belongs to which camp is told by one
source or another. Small enough that a model is trained on it within a second or two."""

import numpy as np
import torch

from training.config import ModelConfig
from training.dataset import Examples, TrainingData
from training.loop import ModelSpec
from training.model import FusionModel
from training.projector import ViewBatch
from training.schema import FeatureSchema, FieldSpec, ViewSpec

NUM_ITEMS = 40
DAY_US = 86_400_000_000
NOW_US = 1_700_000_000_000_000


def toy_schema() -> FeatureSchema:
    """Four sources, each kind of field at least once; `item` has no view on the user's side."""

    def field(name: str, kind: str, **more: object) -> FieldSpec:
        return FieldSpec.model_validate({"name": name, "kind": kind, **more})

    def view(name: str, source: str, entity: str, *fields: FieldSpec) -> ViewSpec:
        return ViewSpec.model_validate(
            {
                "name": name,
                "source": source,
                "entity": entity,
                "join_key": f"{entity}_id",
                "fields": fields,
            }
        )

    counter = field("events_7d", "counter", half_life_days=7.0, clock="counted_at_us")
    clock = field("counted_at_us", "clock")
    categories = field("top_categories", "sequence", vocabulary="category")
    return FeatureSchema(
        service="toy_v1",
        views=(
            view("history", "behaviour", "user", field("recent", "sequence", vocabulary="item")),
            view("activity", "behaviour", "user", counter, clock, categories),
            view("friends", "social", "user", field("theirs", "sequence", vocabulary="item")),
            view("words", "text", "user", field("vector", "embedding", dims=6)),
            view(
                "attributes",
                "item",
                "item",
                field("category", "categorical", vocabulary="category"),
                field("price", "numeric"),
                field("available_at_us", "time"),
                counter,
                clock,
            ),
            view("titles", "text", "item", field("vector", "embedding", dims=6)),
        ),
    )


def toy_sizes() -> dict[str, int]:
    return {"item": NUM_ITEMS + 1, "category": 5}


def make_model(fusion: str = "attention", seed: int = 0, **changes: object) -> FusionModel:
    torch.manual_seed(seed)
    config = ModelConfig.model_validate({"fusion": fusion, "width": 16, **changes})
    return FusionModel(toy_schema(), toy_sizes(), config).eval()


def toy_users(num: int, seed: int, camp: np.ndarray | None = None) -> dict[str, ViewBatch]:
    """Users [num]; with `camp` (0 or 1 each) history, friends and words tell of it."""
    rng = np.random.default_rng(seed)
    camp = rng.integers(0, 2, num) if camp is None else camp
    at_us = torch.full((num,), NOW_US)
    none = torch.zeros(num, 0)

    def items_of_camp() -> torch.Tensor:
        return torch.from_numpy(1 + 2 * rng.integers(0, NUM_ITEMS // 2, (num, 6)) + camp[:, None])

    def view(**columns: torch.Tensor) -> ViewBatch:
        named = {name.replace("__", ":"): tensor for name, tensor in columns.items()}
        given = {"numeric": none, **named}
        return ViewBatch.gathered(given, torch.ones(num, dtype=torch.bool), at_us)

    vector = torch.from_numpy(rng.normal(size=(num, 6)).astype(np.float32))
    vector[:, 0] += torch.from_numpy(4.0 * camp - 2.0).float()
    return {
        "history": view(sequence__recent=items_of_camp()),
        "activity": view(
            counter=torch.from_numpy(rng.gamma(2.0, size=(num, 1)).astype(np.float32)),
            clock_us=torch.full((num, 1), NOW_US - DAY_US),
            sequence__top_categories=torch.from_numpy(rng.integers(0, 5, (num, 3))),
        ),
        "friends": view(sequence__theirs=items_of_camp()),
        "words": view(embedding__vector=vector),
    }


def toy_items(ids: torch.Tensor, seed: int) -> dict[str, ViewBatch]:
    """Items by number (int64 [n], 0 for unknown); an item's camp is (number - 1) % 2."""
    rng, num = np.random.default_rng(seed), len(ids)
    at_us = torch.full((num,), NOW_US)
    vector = torch.from_numpy(rng.normal(size=(num, 6)).astype(np.float32))
    vector[:, 0] += ((ids - 1) % 2 * 4 - 2).float()
    attributes = {
        "numeric": torch.from_numpy(rng.normal(size=(num, 1)).astype(np.float32)),
        "numeric_missing": torch.zeros(num, 1),
        "counter": torch.from_numpy(rng.gamma(2.0, size=(num, 1)).astype(np.float32)),
        "clock_us": torch.full((num, 1), NOW_US - DAY_US),
        "time_us": torch.full((num, 1), NOW_US - 30 * DAY_US),
        "categorical": torch.from_numpy(rng.integers(0, 5, (num, 1))),
    }
    there = torch.ones(num, dtype=torch.bool)
    return {
        "attributes": ViewBatch.gathered(attributes, there, at_us),
        "titles": ViewBatch.gathered({"embedding:vector": vector}, there, at_us),
    }


def toy_data(
    num_train: int, num_validation: int, seed: int, shuffled: bool = False
) -> TrainingData:
    """Users take up items of their own camp; `shuffled` takes the connection away."""
    num = num_train + num_validation
    rng = np.random.default_rng(seed)
    camp = rng.integers(0, 2, num)
    users = toy_users(num, seed, camp)
    items = toy_items(torch.arange(1, NUM_ITEMS + 1), seed)
    taken_camp = rng.permutation(camp) if shuffled else camp
    positive = 1 + 2 * rng.integers(0, NUM_ITEMS // 2, num) + taken_camp
    # A uniform draw from the other items.
    negative = 1 + (positive[:, None] + rng.integers(0, NUM_ITEMS - 1, (num, 15))) % NUM_ITEMS
    ids = np.concatenate([positive[:, None], negative], axis=1)

    def part(rows: np.ndarray) -> Examples:
        return Examples(
            at_us=np.full(len(rows), NOW_US),
            user_rows={name: rows.astype(np.int32) for name in users},
            item_rows={name: (ids[rows] - 1).astype(np.int32) for name in items},
            item_ids=ids[rows].astype(np.int32),
            log_q=np.full((len(rows), ids.shape[1]), -np.log(NUM_ITEMS), np.float32),
            mask=np.ones((len(rows), ids.shape[1]), np.bool_),
        )

    columns = {
        name: {key: column.numpy() for key, column in batch.columns.items()}
        for name, batch in {**users, **items}.items()
    }
    return TrainingData(
        columns,
        {"train": part(np.arange(num_train)), "validation": part(np.arange(num_train, num))},
    )


def toy_spec(fusion: str = "attention", **changes: object) -> ModelSpec:
    config = ModelConfig.model_validate({"fusion": fusion, "width": 16, **changes})
    return ModelSpec(toy_schema(), toy_sizes(), config)
