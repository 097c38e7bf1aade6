"""The synthetic world at scale, through the ordinary pipeline, and its feature repo.

In: a size. Out: `data/current` with every feature view, and beside it an applied feature repo whose
online store (SQLite) holds the newest rows of all users. Only the text encoder is not the ordinary
one (texts.py). Items are not put online: the server reads them from its bundle.
"""

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feast import FeatureStore

from feature_repo.pipelines import build
from feature_repo.pipelines.features.build import build_table_features
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.text import build_text_features
from feature_repo.pipelines.tables import DatasetInfo
from tests.benchmarks.serving_scale.texts import WordProjection
from tests.conftest import copy_definitions
from training.registry import read_schema

# Views on a grid are refreshed twice in the world's 180 days: their history is of no use here.
GRID_DAYS = 90


@dataclass(frozen=True)
class Size:
    users: int = 2_000
    items: int = 20_000
    events_per_user: int = 20
    text_dims: int = 64
    """At 384 and a million items, the fit of the channel `text-link` takes 20 GB of memory."""
    seed: int = 7


def build_data(folder: Path, size: Size) -> Path:
    """Tables and features of the world in `folder`/data; returns the data set's folder."""
    data = folder / "data" / "current"
    data.parent.mkdir(parents=True)
    counts = {
        "--users": size.users,
        "--items": size.items,
        "--events": size.users * size.events_per_user,
        "--seed": size.seed,
    }
    flags = [str(word) for pair in counts.items() for word in pair]
    if build.main(["--dataset", "world", "--only", "tables", "--out", str(data), *flags]):
        raise ValueError(f"the synthetic world could not be built for {size}; see above")
    options = FeatureOptions(grid_days=GRID_DAYS, seed=size.seed)
    build_table_features(data, options)
    build_text_features(data, options, WordProjection(size.text_dims, size.seed))
    return data


def apply_repo(folder: Path) -> Path:
    """Feast's own `apply` of the project's definitions in `folder`/feature_repo."""
    repo = folder / "feature_repo"
    copy_definitions(repo)
    subprocess.run([sys.executable, "-m", "feast.cli.cli", "-c", str(repo), "apply"], check=True)
    return repo


def put_users_online(repo: Path, data: Path, service: str = "ranking_v1") -> None:
    """Materialise the newest row of every user in every view, by Feast's own writer."""
    store = FeatureStore(repo_path=str(repo))
    views = [view.name for view in read_schema(store, service).user_views]
    # Rows that stand on a grid come after the last event that they hold.
    end_at = DatasetInfo.read(data).last_event_at + timedelta(days=GRID_DAYS + 1)
    store.materialize(datetime(1970, 1, 1, tzinfo=UTC), end_at, feature_views=views)
