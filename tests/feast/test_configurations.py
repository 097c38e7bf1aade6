"""Both configurations are ones that Feast accepts, with our store in them."""

from pathlib import Path

import pytest
from feast.repo_config import FeastConfigError, load_repo_config

from feature_repo.plugins.point_in_time import PointInTimeOfflineStoreConfig
from tests.feast.tables import REPO


@pytest.mark.parametrize("name", ["feature_store.yaml", "feature_store.production.yaml"])
def test_feast_reads_the_configuration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTLUCK_REGISTRY_URL", "sqlite:////nowhere/registry.db")
    monkeypatch.setenv("POTLUCK_REDIS", "localhost:6379")
    config = load_repo_config(REPO, REPO / name)
    assert isinstance(config.offline_store, PointInTimeOfflineStoreConfig)
    assert config.materialization_config.pull_latest_features
    assert config.registry.path != "${POTLUCK_REGISTRY_URL}"


def test_a_typo_in_the_store_settings_is_an_error(tmp_path: Path) -> None:
    text = (REPO / "feature_store.yaml").read_text()
    store = "PointInTimeOfflineStore\n"
    path = tmp_path / "feature_store.yaml"
    path.write_text(text.replace(store, f"{store}  memory_limit_bg: 4\n"))
    with pytest.raises(FeastConfigError, match="memory_limit_bg"):
        load_repo_config(tmp_path, path)
