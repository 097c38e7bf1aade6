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
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import tqdm

from feature_repo.pipelines.adapters.world_events import Step, run
from feature_repo.pipelines.adapters.world_items import Items, draw_items
from feature_repo.pipelines.adapters.world_people import DAY_US, People, draw_people
from feature_repo.pipelines.adapters.world_text import (
    creator_names,
    descriptions,
    introductions,
    pick,
    read_themes,
    reviews,
    titles,
    words_of,
)
from feature_repo.pipelines.adapters.world_truth import Truth
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.tables import INSTANT, DataError

END_AT = datetime(2026, 1, 1, tzinfo=UTC)
ROWS_PER_CHUNK = 200_000
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
        _write_people(config, people, sink)
        _write_items(config, items, sink)
        rng = config.draws("event text")
        for step in _progress(draw_events(config, people, items), config):
            truth.write_events(step)
            _write_events(config, items, step, sink, rng)
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


def user_ids(numbers: npt.NDArray[np.integer]) -> pa.Array:
    """The ids of users by row number."""
    return _ids("u", numbers)


def item_ids(numbers: npt.NDArray[np.integer]) -> pa.Array:
    """The ids of items by row number."""
    return _ids("i", numbers)


def _ids(prefix: str, numbers: npt.NDArray[np.integer]) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), 7, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _config(options: Mapping[str, object]) -> WorldConfig:
    given = {name: options.get(name) for name in WorldConfig.model_fields}
    try:
        return WorldConfig.model_validate({k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        raise DataError(f"--{name} {given[str(name)]!r}: {first['msg']}") from error


def _progress(steps: Iterator[Step], config: WorldConfig) -> Iterator[Step]:
    with tqdm(total=config.events, desc="events", unit="event", unit_scale=True) as bar:
        for step in steps:
            yield step
            bar.update(step.num)


def _instants(us: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(us, type=pa.int64()).cast(INSTANT)


def _chunks(num: int) -> Iterator[npt.NDArray[np.int64]]:
    for first in range(0, num, ROWS_PER_CHUNK):
        yield np.arange(first, min(first + ROWS_PER_CHUNK, num))


def _write_people(config: WorldConfig, people: People, sink: RawSink) -> None:
    rng = config.draws("people text")
    source = np.repeat(np.arange(people.num), np.diff(people.offsets))
    for users in _chunks(people.num):
        joined = people.joined_us_N[users]
        sink.write("users", pa.table({"user_id": user_ids(users), "joined_at": _instants(joined)}))
        some = users[rng.random(len(users)) < 0.4]  # not everybody introduces themselves
        first, second = people.tastes_NK[some, 0], people.tastes_NK[some, 1]
        hello = introductions(first, second, rng)
        _write_documents(sink, "post", user_ids(some), None, hello, people.joined_us_N[some])
    for links in _chunks(len(source)):
        kinds = pc.if_else(pa.array(people.follow_L[links]), "follow", "friend")
        sink.write(
            "edges",
            pa.table(
                {
                    "source_id": user_ids(source[links]),
                    "target_id": user_ids(people.targets_L[links]),
                    "kind": kinds,
                    "valid_from": _instants(people.since_us_L[links]),
                    "timed": pa.array(np.ones(len(links), dtype=bool)),
                }
            ),
        )


def _write_items(config: WorldConfig, items: Items, sink: RawSink) -> None:
    """Three in twenty items lack the category, one in five the price: as real catalogues do."""
    rng, themes = config.draws("item text"), read_themes()
    names = pa.array(themes.categories)
    all_titles = titles(items.themes_M2[:, 0])
    for rows in _chunks(items.num):
        main, second = items.themes_M2[rows].T
        mixed = items.shares_M2[rows, 1] > 0

        def hide(column: pa.Array, share: float) -> pa.Array:
            missing = pa.array(rng.random(len(column)) < share)
            return pc.if_else(missing, pa.scalar(None, column.type), column)

        category = hide(names.take(pa.array(main // themes.per_category)), 0.15)
        other = names.take(pa.array(second // themes.per_category))
        sink.write(
            "items",
            pa.table(
                {
                    "item_id": item_ids(rows),
                    "title": all_titles.take(pa.array(rows)),
                    "description": hide(descriptions(main, second, mixed, rng), 0.08),
                    "category": category,
                    "categories": _lists(category, other, mixed),
                    "creator": hide(creator_names(items.creator_M[rows]), 0.05),
                    "price": hide(pa.array(items.price_M[rows]), 0.2),
                    "available_at": _instants(items.available_us_M[rows]),
                }
            ),
        )


def _lists(category: pa.Array, other: pa.Array, mixed: npt.NDArray[np.bool_]) -> pa.Array:
    """One list a row: nothing where the category is hidden, else it and a different second one."""
    shown = category.is_valid().to_numpy(zero_copy_only=False)
    different = pc.fill_null(pc.not_equal(category, other), False)
    both = shown & mixed & different.to_numpy(zero_copy_only=False)
    kept = np.stack([shown, both], axis=1).ravel()
    values = pc.if_else(pa.array(np.arange(len(kept)) % 2 == 0), category.take(_twice(category)),
                        other.take(_twice(other)))  # fmt: skip
    ends = np.cumsum(shown.astype(np.int32) + both)
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values.filter(pa.array(kept)))


def _twice(column: pa.Array) -> pa.Array:
    return pa.array(np.repeat(np.arange(len(column)), 2))


def _write_events(
    config: WorldConfig, items: Items, step: Step, sink: RawSink, rng: np.random.Generator
) -> None:
    rated = ~np.isnan(step.stars_n)
    action = np.where(step.positive_n | rated, np.where(rated, "rate", "view"), "skip")
    sink.write(
        "interactions",
        pa.table(
            {
                "user_id": user_ids(step.user_n),
                "item_id": item_ids(step.item_n),
                "action": pa.array(action),
                "value": pa.array(step.stars_n, from_pandas=True),
                "timestamp": _instants(step.at_us_n),
                "is_positive": pa.array(step.positive_n),
                "timed": pa.array(np.ones(step.num, dtype=bool)),
            }
        ),
    )
    tagged = step.only((rng.random(step.num) < 0.08) & step.positive_n)
    (tags,) = words_of(_theme_of(items, tagged, rng), 1, rng)
    _write_words(config, sink, "tag", tagged, tags, rng)
    reviewed = step.only((rng.random(step.num) < 0.12) & (action != "skip"))
    liking = np.where(np.isnan(reviewed.stars_n), reviewed.match_n, (reviewed.stars_n - 1) / 4)
    texts = reviews(_theme_of(items, reviewed, rng), liking, rng)
    _write_words(config, sink, "review", reviewed, texts, rng)


def _theme_of(items: Items, step: Step, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """The sub-theme that the writer talks about: the main one as often as it makes up the item."""
    side = (rng.random(step.num) >= items.shares_M2[step.item_n, 0]).astype(np.int64)
    return np.asarray(items.themes_M2[step.item_n, side])


def _write_words(
    config: WorldConfig,
    sink: RawSink,
    kind: str,
    step: Step,
    texts: pa.Array,
    rng: np.random.Generator,
) -> None:
    """Documents written some hours after the event; those after the world's end never are."""
    at_us = step.at_us_n + (rng.exponential(6.0, step.num) * 3_600_000).astype(np.int64) * 1_000
    kept = at_us < config.end_us
    users, items = user_ids(step.user_n[kept]), item_ids(step.item_n[kept])
    _write_documents(sink, kind, users, items, texts.filter(pa.array(kept)), at_us[kept])


def _write_documents(
    sink: RawSink,
    kind: str,
    users: pa.Array,
    items: pa.Array | None,
    texts: pa.Array,
    at_us: npt.NDArray[np.int64],
) -> None:
    sink.write(
        "documents",
        pa.table(
            {
                "user_id": users,
                "item_id": pa.nulls(len(users), pa.string()) if items is None else items,
                "kind": pick([kind], len(users), np.random.default_rng(0)),
                "text": texts,
                "timestamp": _instants(at_us),
            }
        ),
    )
