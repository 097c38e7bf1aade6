"""One small world, drawn once: people, items and all that happened, as arrays."""

from dataclasses import dataclass

import numpy as np
import pytest

from feature_repo.pipelines.adapters.world import WorldConfig, draw_events, draw_world
from feature_repo.pipelines.adapters.world_events import Step
from feature_repo.pipelines.adapters.world_items import Items
from feature_repo.pipelines.adapters.world_people import People


@dataclass(frozen=True)
class Drawn:
    config: WorldConfig
    people: People
    items: Items
    events: Step


def draw(config: WorldConfig) -> Drawn:
    people, items = draw_world(config)
    steps = list(draw_events(config, people, items))
    columns = {
        name: np.concatenate([vars(step)[name] for step in steps]) for name in vars(steps[0])
    }
    for column in columns.values():
        column.flags.writeable = False
    return Drawn(config, people, items, Step(**columns))


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    return draw(WorldConfig(users=800, items=800, events=24_000, seed=3))
