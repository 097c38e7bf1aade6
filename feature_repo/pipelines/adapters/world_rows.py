"""People, items and events of the synthetic world as rows of the canonical tables.

In: arrays of numbers. Out: chunks written to the sink, with ids, names and texts. What the truth
knows (sub-themes, causes) does not appear here except in the words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.pipelines.adapters.world_events import Step
from feature_repo.pipelines.adapters.world_items import Items
from feature_repo.pipelines.adapters.world_people import People
from feature_repo.pipelines.adapters.world_text import (
    creator_names,
    descriptions,
    introductions,
    read_themes,
    reviews,
    titles,
    words_of,
)
from feature_repo.pipelines.raw import RawSink
from feature_repo.pipelines.tables import INSTANT

ROWS_PER_CHUNK = 200_000


def user_ids(numbers: npt.NDArray[np.integer]) -> pa.Array:
    """The ids of users by row number."""
    return _ids("u", numbers)


def item_ids(numbers: npt.NDArray[np.integer]) -> pa.Array:
    """The ids of items by row number."""
    return _ids("i", numbers)


def _ids(prefix: str, numbers: npt.NDArray[np.integer]) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), 7, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _instants(us: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(us, type=pa.int64()).cast(INSTANT)


def _chunks(num: int) -> Iterator[npt.NDArray[np.int64]]:
    for first in range(0, num, ROWS_PER_CHUNK):
        yield np.arange(first, min(first + ROWS_PER_CHUNK, num))


def write_people(people: People, sink: RawSink, rng: np.random.Generator) -> None:
    """Users, the introductions that some of them write, and links."""
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


def write_items(items: Items, sink: RawSink, rng: np.random.Generator) -> None:
    """Three in twenty items lack the category, one in five the price: as real catalogues do."""
    themes = read_themes()
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
    is_main = pa.array(np.arange(len(kept)) % 2 == 0)
    values = pc.if_else(is_main, category.take(_twice(category)), other.take(_twice(other)))
    ends = np.cumsum(shown.astype(np.int32) + both)
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values.filter(pa.array(kept)))


def _twice(column: pa.Array) -> pa.Array:
    return pa.array(np.repeat(np.arange(len(column)), 2))


def write_events(
    items: Items, step: Step, end_us: int, sink: RawSink, rng: np.random.Generator
) -> None:
    """Interactions, and the tags and reviews that follow some of them before the world's end."""
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
    _write_words(end_us, sink, "tag", tagged, tags, rng)
    reviewed = step.only((rng.random(step.num) < 0.12) & (action != "skip"))
    liking = np.where(np.isnan(reviewed.stars_n), reviewed.match_n, (reviewed.stars_n - 1) / 4)
    texts = reviews(_theme_of(items, reviewed, rng), liking, rng)
    _write_words(end_us, sink, "review", reviewed, texts, rng)


def _theme_of(items: Items, step: Step, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """The sub-theme that the writer talks about: the main one as often as it makes up the item."""
    side = (rng.random(step.num) >= items.shares_M2[step.item_n, 0]).astype(np.int64)
    return np.asarray(items.themes_M2[step.item_n, side])


def _write_words(
    end_us: int,
    sink: RawSink,
    kind: str,
    step: Step,
    texts: pa.Array,
    rng: np.random.Generator,
) -> None:
    """Documents written some hours after the event; those after the world's end never are."""
    at_us = step.at_us_n + (rng.exponential(6.0, step.num) * 3_600_000).astype(np.int64) * 1_000
    kept = at_us < end_us
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
                "kind": pa.repeat(kind, len(users)),
                "text": texts,
                "timestamp": _instants(at_us),
            }
        ),
    )
