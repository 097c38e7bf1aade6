"""What a search varies: for each preset, settings of a TrainingConfig and where they may lie.

In: the name of a preset. Out: Optuna distributions by setting ("run.learning_rate"). Nothing here
runs a search; `tune.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)

from training.config import FUSIONS, TrainingConfig

Space = Mapping[str, BaseDistribution]

SMALL: Space = {
    "model.fusion": CategoricalDistribution(FUSIONS),
    "model.width": CategoricalDistribution((16, 32, 64)),
    "model.dropout": FloatDistribution(0.0, 0.5),
    "run.learning_rate": FloatDistribution(5e-4, 2e-2, log=True),
    "run.weight_decay": FloatDistribution(1e-3, 0.5, log=True),
    "run.negatives": CategoricalDistribution((6, 12, 24)),
}
DEFAULT: Space = {
    **SMALL,
    "model.width": CategoricalDistribution((32, 64, 128)),
    "model.source_dropout": FloatDistribution(0.0, 0.3),
    "model.id_dropout": FloatDistribution(0.0, 0.6),
    "model.sequence_dropout": FloatDistribution(0.0, 0.8),
    "model.history": CategoricalDistribution((20, 50)),
    "run.batch_size": CategoricalDistribution((128, 256, 512)),
    "run.negatives": CategoricalDistribution((6, 12, 24, 48)),
}
SPACES = {"default": DEFAULT, "small": SMALL}


def with_settings(config: TrainingConfig, settings: Mapping[str, Any]) -> TrainingConfig:
    """The configuration with settings in place of its own; ValueError for what cannot be."""
    values = config.model_dump()
    for name, value in settings.items():
        section, key = name.split(".")
        values[section][key] = value
    return TrainingConfig.model_validate(values)


def settings_of(config: TrainingConfig, space: Space) -> dict[str, Any]:
    """The configuration's own values of what the space varies, where they lie in it."""
    values = config.model_dump()
    own = {name: values[name.split(".")[0]][name.split(".")[1]] for name in space}
    return {name: value for name, value in own.items() if contains(space[name], value)}


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the value may be drawn."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution), f"{distribution} is in no space"
    return bool(distribution.low <= value <= distribution.high)


def most_negatives(space: Space) -> int:
    """The greatest number of negatives that a trial may ask for."""
    distribution = space["run.negatives"]
    assert isinstance(distribution, CategoricalDistribution)
    return max(int(str(choice)) for choice in distribution.choices)
