"""Ray Data actors give the vectors that this process gives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.text import build_text_features
from feature_repo.pipelines.tables import feature_path
from tests.text.hand_made import CountingEncoder, document, item, write_data

ITEMS = [item(f"i{n}", f"Song number {n}", "2020-01-01") for n in range(30)]
DOCUMENTS = [
    document(n, f"words about song {n % 7}", "2020-02-01", user_id=f"u{n}", item_id=f"i{n}")
    for n in range(20)
]


@pytest.fixture
def small_ray() -> Iterator[None]:
    import ray

    mine = not ray.is_initialized()
    if mine:
        ray.init(num_cpus=2, include_dashboard=False)
    yield
    if mine:
        ray.shutdown()


@pytest.mark.ray
# Ray Data warns of its own settings when it copies them, and of its coming defaults.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves log files open at shutdown
def test_ray_gives_the_same_rows(tmp_path: Path, small_ray: None) -> None:
    vectors = {}
    for engine in ("local", "ray"):
        folder = write_data(tmp_path / engine, ITEMS, DOCUMENTS)
        options = FeatureOptions.model_validate({"text_engine": engine})
        assert build_text_features(folder, options).num_embedded == 37
        table = pq.read_table(feature_path(folder, "item_text"))
        vectors[engine] = np.array(table["text_embedding"].to_pylist())
    assert vectors["ray"].shape == (50, 384)
    np.testing.assert_allclose(vectors["ray"], vectors["local"], atol=1e-5)


def test_an_encoder_that_cannot_travel_is_refused(tmp_path: Path) -> None:
    folder = write_data(tmp_path, ITEMS, DOCUMENTS)
    with pytest.raises(ValueError, match="set text_engine to 'local'"):
        build_text_features(folder, FeatureOptions(text_engine="ray"), CountingEncoder())
