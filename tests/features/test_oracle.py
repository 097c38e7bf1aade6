"""Every behaviour, item and social feature against a brute-force oracle, at random instants."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.features.build import build_table_features
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.tables import feature_path
from tests.features import oracle
from tests.features.worlds import DAY_US, World, micros, random_world

Row = dict[str, object]
Oracle = Callable[[World, str, int], Row | None]

COUNTER_DAYS = {**oracle.HALF_LIVES, "friends_events_30d": 30}
WORLDS = {
    "two and a half years": (random_world(1), 1),
    "another": (random_world(2), 1),
    "weekly grid": (random_world(3, num_events=400), 7),
    # A one-day half-life over twenty years: 2^7300 is far beyond a double.
    "twenty years": (random_world(4, num_events=300, span_days=7300), 1),
    # Enough items to fill the lists of 50.
    "crowded": (random_world(5, num_events=900, span_days=40, num_items=95), 1),
}


@pytest.fixture(scope="module", params=WORLDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> object:
    world, grid_days = WORLDS[request.param]
    data_dir = world.write(tmp_path_factory.mktemp("world"))
    build_table_features(data_dir, FeatureOptions(grid_days=grid_days, threads=1))
    return world, data_dir, grid_days


def test_features_equal_the_oracle(built: tuple[World, Path, int]) -> None:
    world, data_dir, grid_days = built
    views: dict[str, tuple[str, Oracle]] = {
        "user_activity": ("user_id", oracle.user_activity),
        "user_history": ("user_id", oracle.user_history),
        "user_affinity": ("user_id", oracle.user_affinity),
        "item_attributes": ("item_id", oracle.item_attributes),
        "item_popularity": ("item_id", oracle.item_popularity),
        "user_social": ("user_id", partial(oracle.user_social, grid_days=grid_days)),
    }
    for view, (key, expected_of) in views.items():
        rows = pq.read_table(feature_path(data_dir, view)).to_pylist()
        names = [*sorted({str(row[key]) for row in rows}), "nobody" if key == "user_id" else "i00"]
        by_key = {name: [row for row in rows if row[key] == name] for name in names}
        for number, now in enumerate(instants(world)):
            name = names[number % len(names)]
            found = as_of(by_key[name], now)
            expected = expected_of(world, name, now)
            assert (found is None) == (expected is None), (view, name, now)
            if found is not None and expected is not None:
                assert_same(found, expected, now, (view, name, now))


def instants(world: World) -> list[int]:
    """Random ones, and those where a mistake of one microsecond shows: events and grid points."""
    random = np.random.default_rng(0)
    times = [micros(row["timestamp"]) for row in world.interactions]  # type: ignore[arg-type]
    anywhere = random.integers(min(times) - DAY_US, max(times) + 30 * DAY_US, size=40)
    events = random.choice(times, size=40) + random.integers(-1, 2, size=40)
    grid = random.choice(times, size=40) // DAY_US * DAY_US + random.integers(-1, 2, size=40)
    return [0, *anywhere.tolist(), *events.tolist(), *grid.tolist()]


def as_of(rows: list[Row], now: int) -> Row | None:
    """What a point-in-time join would find: the newest row with an event timestamp up to `now`."""
    known = [row for row in rows if micros(row["event_timestamp"]) <= now]  # type: ignore[arg-type]
    return max(known, key=lambda row: row["event_timestamp"], default=None)  # type: ignore[arg-type,return-value]


def assert_same(found: Row, expected: Row, now: int, where: object) -> None:
    for field, value in expected.items():
        got = found[field]
        if field in COUNTER_DAYS:
            age_us = now - int(found["counted_at_us"])  # type: ignore[call-overload]
            got = float(got) * 0.5 ** (age_us / (COUNTER_DAYS[field] * DAY_US))  # type: ignore[arg-type]
            # Below the smallest float32 a counter reads 0.
            assert math.isclose(got, float(value), rel_tol=1e-5, abs_tol=1e-37), (where, field)  # type: ignore[arg-type]
        elif isinstance(value, float) or field == "top_category_shares":
            assert got == pytest.approx(value, rel=1e-5, abs=1e-6), (where, field)
        else:
            assert got == value, (where, field)


def test_one_row_an_instant_with_equal_stamps(built: tuple[World, Path, int]) -> None:
    _, data_dir, _ = built
    for path in sorted((data_dir / "features").glob("*.parquet")):
        rows = pq.read_table(path)
        keys = list(zip(rows[0].to_pylist(), rows["event_timestamp"].to_pylist(), strict=True))
        assert len(set(keys)) == len(keys), path.name
        assert keys == sorted(keys) or path.stem == "user_graph", path.name
        assert rows["created_timestamp"].equals(rows["event_timestamp"])
