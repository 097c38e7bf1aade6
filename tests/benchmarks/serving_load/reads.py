"""The feature side of one request, beside what Feast takes for the same items.

In: a scale folder. Out: milliseconds of each read: a user by Feast, encoded, and the items' encoded
rows from the snapshot; as many items by `get_online_features`, from an online store (SQLite) of
their own. Feast's precomputed vectors are not among them: in 0.67 only Redis can make them.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch
from feast import FeatureStore, RepoConfig
from numpy.typing import NDArray

from serving.api import Context
from serving.clock import microseconds
from serving.snapshot import Snapshot
from serving.users import UserReader
from tests.benchmarks.serving_load.client import Floats
from training.bundle import Bundle, load_bundle
from training.native import open_native

ITEM_KEY = "item_id"
REPEAT = 200
REPEAT_FEAST = 20  # each some 100 ms


@dataclass(frozen=True)
class Reads:
    """Milliseconds, a number a repetition."""

    user: Floats
    """One user in all views, read and encoded."""
    items: Floats
    """The encoded rows of that many items, gathered as the model takes them."""
    tokens: Floats
    """The same, and the model's first layers over them."""
    feast_items: Floats
    """The same rows by Feast, not yet encoded."""

    @property
    def request(self) -> Floats:
        """The feature side of one request."""
        return self.user + self.items


def measure(
    scale: Path, users: Sequence[str], candidates: int, compiled: Path | None = None
) -> Reads:
    """Other users and items every time; Feast's are the same few, which is easier."""
    torch.set_num_threads(1)  # as in a replica
    bundle, store = load_bundle(scale / "bundle"), FeatureStore(str(scale / "feature_repo"))
    if compiled is not None:
        bundle.model.native = open_native(compiled, bundle.model, bundle.encoder)
    snapshot, reader = Snapshot.from_bundle(bundle), UserReader(store, bundle.encoder, bundle.model)
    at_us, asking = microseconds(bundle.as_of), itertools.cycle(users)
    rng = np.random.default_rng(7)

    def draw() -> NDArray[np.int64]:
        return rng.integers(0, len(snapshot), candidates)

    user = timed(lambda: reader.read(next(asking), Context(), at_us), REPEAT)
    items = timed(lambda: snapshot.batches(draw(), at_us), REPEAT)
    tokens = timed(lambda: snapshot.tokens(draw(), at_us), REPEAT)
    with TemporaryDirectory() as folder:
        places = np.unique(draw())
        online = put_online(store, bundle, places, Path(folder))
        ids = snapshot.bundle.items.column("item_id").take(pa.array(places)).to_pylist()
        wanted = [f"{view.name}:{f.name}" for view in bundle.schema.item_views for f in view.inputs]

        def read() -> dict[str, list[object]]:
            rows = [{ITEM_KEY: item_id} for item_id in ids]
            found = online.get_online_features(features=wanted, entity_rows=rows)
            answer: dict[str, list[object]] = found.to_dict()
            return answer

        return Reads(user, items, tokens, timed(read, REPEAT_FEAST))


def put_online(
    store: FeatureStore, bundle: Bundle, places: NDArray[np.int64], folder: Path
) -> FeatureStore:
    """A store whose SQLite holds these items in the bundle's item views, and no more."""
    config = RepoConfig(
        project="items",
        provider="local",
        registry=f"{folder}/registry.db",
        online_store={"type": "sqlite", "path": f"{folder}/online.db"},
        repo_path=folder,
        entity_key_serialization_version=3,
    )
    online, views = FeatureStore(config=config), bundle.schema.item_views
    online.apply([*store.list_entities(), *(store.get_feature_view(view.name) for view in views)])
    ids = bundle.items.column("item_id").take(pa.array(places))
    for view in views:
        rows = bundle.item_views[view.name]
        there = rows.rows[places] >= 0
        features = rows.features.take(pa.array(rows.rows[places][there])).to_pandas()
        for field in online.get_feature_view(view.name).features:
            if field.name not in features:
                features[field.name] = (
                    None  # the model reads no title, the bundle's views hold none
                )
        features[ITEM_KEY] = ids.filter(pa.array(there)).to_pandas().to_numpy()
        features["event_timestamp"] = features["created_timestamp"] = bundle.as_of
        online.write_to_online_store(view.name, features)
    return online


def timed(work: Callable[[], object], repeat: int) -> Floats:
    """Milliseconds of each call, without the first two."""
    found = np.empty(repeat + 2)
    for number in range(len(found)):
        started = time.perf_counter()
        work()
        found[number] = 1e3 * (time.perf_counter() - started)
    return found[2:]
