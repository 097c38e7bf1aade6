"""The `world` source: a seeded synthetic world that needs no download and whose truth is known.

In: a size and a seed. Out: raw users, items, interactions, edges and documents, and beside the data
set a folder `truth` (tastes, themes, and for each event what caused it). Planted: tastes over
sub-themes that only texts tell, friends who pass on what they take up, trends, newcomers of both
kinds to the last day. The same settings give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import tqdm

from feature_repo.pipelines.adapters.world_events import Step, run
from feature_repo.pipelines.adapters.world_items import Items, draw_items
from feature_repo.pipelines.adapters.world_people import DAY_US, People, draw_people
from feature_repo.pipelines.adapters.world_rows import write_events, write_items, write_people
from feature_repo.pipelines.adapters.world_text import read_themes
from feature_repo.pipelines.adapters.world_truth import Truth
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.tables import DataError

END_AT = datetime(2026, 1, 1, tzinfo=UTC)
PARTS = ("people", "items", "events", "people text", "item text", "event text")


class WorldConfig(BaseModel):
    """The size of the world. Time ends at `END_AT` whatever the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(default=2_000, ge=10, le=20_000_000)
    items: int = Field(default=1_500, ge=100, le=5_000_000)
    events: int = Field(default=60_000, ge=100, le=1_000_000_000)
    """Interactions, about: an event whose user has seen everything nearby falls away."""
    days: int = Field(default=180, ge=30, le=3_650)
    seed: int = Field(default=0, ge=0)

    @property
    def end_us(self) -> int:
        return int(END_AT.timestamp()) * 1_000_000

    @property
    def start_us(self) -> int:
        return self.end_us - self.days * DAY_US

    def draws(self, part: str) -> np.random.Generator:
        """Random numbers of one part of the world: a change to one part leaves the others alone."""
        return np.random.Generator(np.random.PCG64([self.seed, PARTS.index(part)]))


def read(source: Path | None, sink: RawSink, options: Mapping[str, object]) -> RawInfo:
    """Make the world. Options: users, items, events, days, seed, and `out` for the truth."""
    config = _config(options)
    people, items = draw_world(config)
    out = options.get("out")
    with Truth(Path(str(out)) / "truth" if out else None) as truth:
        truth.write_people(people)
        truth.write_items(items)
        write_people(people, sink, config.draws("people text"))
        write_items(items, sink, config.draws("item text"))
        rng = config.draws("event text")
        for step in _progress(draw_events(config, people, items), config):
            truth.write_events(step)
            write_events(items, step, config.end_us, sink, rng)
    sink.note("Synthetic: tastes, friends' influence and trends are planted; see the folder truth.")
    return RawInfo(
        source_text=f"synthetic world, seed {config.seed}: {config.users:,} users, "
        f"{config.items:,} items, about {config.events:,} events in {config.days} days",
        time_resolution="exact",
        snapshot_at=END_AT,
        floor_at=END_AT - timedelta(days=config.days + 366),
        value_bounds={"rate": (1.0, 5.0)},
    )


def draw_world(config: WorldConfig) -> tuple[People, Items]:
    """The people and items of a world, before anything happens."""
    themes = read_themes()
    num_themes = len(themes.sub_themes)
    people = draw_people(
        config.users, num_themes, config.start_us, config.end_us, config.draws("people")
    )
    items = draw_items(
        config.items,
        themes.per_category,
        len(themes.categories),
        config.start_us,
        config.end_us,
        config.draws("items"),
    )
    return people, items


def draw_events(config: WorldConfig, people: People, items: Items) -> Iterator[Step]:
    """What happens in the world, step by step in order of time."""
    return run(
        people,
        items,
        config.events,
        len(read_themes().sub_themes),
        config.start_us,
        config.end_us,
        config.draws("events"),
    )


def _config(options: Mapping[str, object]) -> WorldConfig:
    given = {name: options.get(name) for name in WorldConfig.model_fields}
    try:
        return WorldConfig.model_validate({k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        raise DataError(f"--{name} {given[str(name)]!r}: {first['msg']}") from error


def _progress(steps: Iterator[Step], config: WorldConfig) -> Iterator[Step]:
    with tqdm(
        total=config.events, desc="events", unit="event", unit_scale=True, disable=None
    ) as bar:
        for step in steps:
            yield step
            bar.update(step.num)
