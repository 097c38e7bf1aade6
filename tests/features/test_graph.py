"""The graph embedding: near for those with the same friends, fixed by seed and id, monthly."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.pipelines.features.engine import connect
from feature_repo.pipelines.features.graph import random_vectors, user_graph
from feature_repo.pipelines.features.options import FeatureOptions
from tests.features.test_social import edge
from tests.features.worlds import Row, World, micros


def embeddings(tmp_path: Path, edges: list[Row], seed: int = 0) -> pa.Table:
    World([], [], edges).write(tmp_path)
    with connect(tmp_path, FeatureOptions()) as connection:
        tables = list(user_graph(connection, seed=seed))
    return pa.concat_tables(tables)


def circle(name: str, size: int = 6, since_us: int | None = None) -> list[Row]:
    people = [f"{name}{n}" for n in range(size)]
    return [edge(one, other, since_us) for one in people for other in people if one < other]


def test_people_of_one_circle_are_near(tmp_path: Path) -> None:
    bridge = [edge("x0", "y0", None)]
    table = embeddings(tmp_path, circle("x") + circle("y") + bridge)
    vectors = np.array(table["graph_embedding"].to_pylist())
    assert vectors.shape == (12, 64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T
    inside = np.r_[likeness[:6, :6].ravel(), likeness[6:, 6:].ravel()]
    assert inside.min() > likeness[:6, 6:].max()
    assert table["event_timestamp"].to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC)] * 12


def test_random_vectors_depend_on_id_and_seed_alone() -> None:
    names = [f"person {n}" for n in range(500)]
    vectors = random_vectors(names, seed=3)
    np.testing.assert_array_equal(vectors[100:200], random_vectors(names[100:200], seed=3))
    assert (vectors != random_vectors(names, seed=4)).any()
    # Mean 0, variance 1, two thirds zeros.
    assert abs(vectors.mean()) < 0.03
    assert abs(vectors.var() - 1) < 0.03
    assert abs((vectors == 0).mean() - 2 / 3) < 0.02


def test_a_link_counts_from_the_next_month_and_changes_only_who_it_reaches(tmp_path: Path) -> None:
    later = micros(datetime(2020, 5, 17, 12, tzinfo=UTC))
    edges = [*circle("x"), *circle("y"), edge("x0", "new", later)]
    rows = embeddings(tmp_path, edges)
    may = rows.filter(pa.array(rows["event_timestamp"].to_numpy() > np.datetime64("1971-01-01")))
    assert set(may["event_timestamp"].to_pylist()) == {datetime(2020, 6, 1, tzinfo=UTC)}
    assert set(may["user_id"].to_pylist()) == {"new", *(f"x{n}" for n in range(6))}
    before = embeddings(tmp_path, [*circle("x"), *circle("y")])
    assert rows.slice(0, before.num_rows).equals(before)


def test_no_links_no_rows(tmp_path: Path) -> None:
    World([], [], [edge("me", "me", None)]).write(tmp_path)
    with connect(tmp_path, FeatureOptions()) as connection:
        assert list(user_graph(connection)) == []
