"""A source that no line of the code names: from a Parquet file and a definition to a slate.

The pictures are planted: they alone tell what people will take up that day.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from feature_repo.pipelines.tables import feature_path, table_path
from serving.api import RecommendRequest
from serving.ranker import SlateRanker
from serving.templates import write
from serving.weights import sources_of
from tests.conftest import copy_definitions
from tests.serving.askers import REGULARS
from tests.serving.stopped import StoppedClock
from training.bundle import Bundle, load_bundle
from training.command import Job
from training.config import TrainingConfig
from training.train import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "sources" / "image_views.py"
CONFIG = {
    "model": {"width": 16},
    "run": {"epochs": 4, "workers": 0, "negatives": 8, "negative_pool": 2, "batch_size": 128},
}
WITHOUT_A_PICTURE = 10  # one item in so many
US_PER_DAY = 86_400_000_000


@pytest.fixture(scope="module")
def gallery(world: Path, repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny world whose repo has the example's view and service, applied by Feast."""
    folder = tmp_path_factory.mktemp("gallery")
    data = folder / "data" / "current"
    shutil.copytree(world, data)
    plant_pictures(data)
    (data / "registry.db").unlink()  # it would have Feast change the world's own online store
    copy_definitions(folder / "feature_repo")
    shutil.copy(EXAMPLE, folder / "feature_repo" / EXAMPLE.name)
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder / "feature_repo"), "apply"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def plant_pictures(data: Path) -> None:
    """New pictures every day; what has a bright one is what most people take up that day.

    Changes whom and what labels name; every other source stays as it was and knows nothing of it.
    """
    rng = np.random.default_rng(0)
    items = pq.read_table(table_path(data, "items"))
    item_ids = items.column("item_id").to_numpy(zero_copy_only=False)
    available_us = items.column("available_at").cast(pa.int64()).to_numpy()
    events = pq.read_table(table_path(data, "interactions"))
    day = events.column("timestamp").cast(pa.int64()).to_numpy() // US_PER_DAY
    num_days = day.max() - day.min() + 1
    dawn_us = (day.min() + np.arange(num_days)) * US_PER_DAY
    there = available_us < dawn_us[:, None] - US_PER_DAY
    bright = there & (rng.random(there.shape) < 0.1)

    taken = events.column("item_id").to_pylist()
    for row in np.flatnonzero(rng.random(len(taken)) < 0.7):
        today = np.flatnonzero(bright[day[row] - day.min()])
        if len(today):
            taken[row] = item_ids[rng.choice(today)]
    place = events.schema.get_field_index("item_id")
    pq.write_table(
        events.set_column(place, "item_id", pa.array(taken)), table_path(data, "interactions")
    )

    # As an image model might give them: twelve numbers, brightness a direction among them.
    pictured = there & (np.arange(len(item_ids)) % WITHOUT_A_PICTURE != 0)
    days, shown = np.nonzero(pictured)
    vectors = rng.normal(size=(len(days), 12))
    vectors[:, 0] += 6 * bright[days, shown]
    vectors = vectors @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
    # Hung the evening before: evaluation shows a day's items as they were known when it began.
    at = pa.array(dawn_us[days] - US_PER_DAY // 24).cast(pa.timestamp("us", "UTC"))
    columns = {
        "item_id": item_ids[shown],
        "event_timestamp": at,
        "created_timestamp": at,
        "image_vector": pa.array(vectors.tolist(), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), feature_path(data, "image_vectors"))


@pytest.fixture(scope="module")
def run(gallery: Path) -> Path:
    """A run with the new source, and one without it by the same seed."""
    out = gallery / "runs" / "pictures"
    config = TrainingConfig.model_validate(CONFIG)
    data = gallery / "data" / "current"
    train(Job(gallery / "feature_repo", data, out, "ranking_v2", ("image",), False, config))
    return out


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    return load_bundle(run / "bundle")


def test_the_schema_has_the_source(bundle: Bundle) -> None:
    assert set(bundle.schema.sources) == {"image", "behaviour", "item", "social", "text"}
    assert bundle.encoder.feature_schema.view("image_vectors").field("image_vector").dims == 12


def test_the_source_counts_and_ranks_better(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["contributions"]["image"] > 0.1
    fused, without = metrics["models"]["fused"], metrics["ablations"]["without image"]
    assert fused["ndcg@10"]["low"] > without["ndcg@10"]["high"]


@pytest.fixture(scope="module")
def ranker(bundle: Bundle, gallery: Path) -> SlateRanker:
    store = FeatureStore(str(gallery / "feature_repo"))
    return SlateRanker(bundle, store, StoppedClock(bundle.as_of))


def test_it_is_served_with_its_contribution(bundle: Bundle, ranker: SlateRanker) -> None:
    request = RecommendRequest(user_id=REGULARS[0], k=20, explain="template")
    slate = ranker.recommend(request)
    assert len(slate.items) == 20
    has_picture = bundle.item_views["image_vectors"].rows >= 0
    for ranked in slate.items:
        assert set(ranked.evidence.contributions) == set(bundle.schema.sources)
        share = abs(ranked.evidence.contributions["image"])
        assert share > 1e-6 if has_picture[ranked.position] else share < 1e-9
        assert write(ranked.evidence)


def test_a_users_own_words_are_compared_with_texts_and_not_with_pictures(
    bundle: Bundle, ranker: SlateRanker
) -> None:
    """Although the service names the pictures first."""
    assert bundle.schema.item_views[0].source == "image"
    assert ranker.snapshot.vectors is not None
    assert ranker.snapshot.vectors.shape[1] == 384
    assert sources_of(bundle.schema).text == "text"


def test_no_line_of_code_names_the_source() -> None:
    files = [path for part in ("training", "serving") for path in (ROOT / part).glob("*.py")]
    naming = re.compile(r"image_v|[\"']image[\"']")
    assert len(files) > 50
    assert [path.name for path in files if naming.search(path.read_text())] == []
