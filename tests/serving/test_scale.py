"""The generator of the serving benchmark's data: what it makes is what the server takes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from feast import FeatureStore

from tests.benchmarks.serving_scale.__main__ import main
from tests.benchmarks.serving_scale.texts import WordProjection
from training.bundle import load_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scale run of the smallest size."""
    folder = tmp_path_factory.mktemp("scale") / "run"
    main(["--out", str(folder), "--users", "60", "--items", "150", "--text-dims", "16"])
    return folder


def test_the_server_answers_from_it(scale: Path, start: Callable[..., TestClient]) -> None:
    client = start(bundle=scale / "bundle", repo=scale / "feature_repo")
    answer = client.post("/v1/recommend", json={"user_id": "u0000003", "k": 20}).json()
    assert answer["known_user"]
    assert len(answer["items"]) == 20
    assert len({item["channel"] for item in answer["items"]}) > 1


def test_the_bundle_fits_the_registry(scale: Path) -> None:
    bundle = load_bundle(scale / "bundle")
    bundle.check(FeatureStore(str(scale / "feature_repo")))
    assert bundle.items.num_rows == 150
    assert len(bundle.seen.user_ids) == 60


def test_a_folder_is_never_overwritten(scale: Path) -> None:
    with pytest.raises(SystemExit, match="exists; remove it"):
        main(["--out", str(scale)])


def test_vectors_of_like_texts_are_alike() -> None:
    one, like, other, empty = WordProjection(64).encode(
        ["slow guitar at night", "slow guitar in rain", "battery screen price", ""]
    )
    np.testing.assert_allclose(np.linalg.norm([one, like, other, empty], axis=1), 1.0, rtol=1e-5)
    assert one @ like > 0.3 > abs(one @ other)
