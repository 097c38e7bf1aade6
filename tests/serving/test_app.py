"""What `serve run serving.app:build` makes of its arguments, and what it refuses."""

import inspect
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureService, FeatureStore
from ray.serve import Application

from serving import app
from serving.app import SERVE_FLAGS, build, read_config
from serving.config import ServingConfig
from serving.proxy import proxy_flags
from tests.serving.conftest import PLAIN_RANKER


@pytest.fixture
def arguments(bundle: Path, repo: Path) -> dict[str, Any]:
    """As `serve run` hands them over: text."""
    return {"bundle": str(bundle), "repo": str(repo)}


@pytest.fixture
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set in a test is gone after it."""
    for name in {**SERVE_FLAGS, **proxy_flags()}:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_text_becomes_values(arguments: dict[str, Any]) -> None:
    config = read_config({**arguments, "clock": "data", "explainer_replicas": "0"})
    assert (config.clock, config.explainer_replicas) == ("data", 0)
    assert config.bundle.is_absolute()


def test_paths_count_from_where_the_command_is_typed(
    arguments: dict[str, Any], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    assert read_config({**arguments, "bundle": bundle.name}).bundle == bundle.resolve()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bundel": "runs/a"}, "bundel: Extra inputs"),
        ({"bundle": "no/such/folder"}, "bundle: Value error, folder no/such/folder does not"),
        ({"repo": "no/such/folder"}, "repo: Value error, folder no/such/folder"),
        ({"clock": "sundial"}, "clock: Input should be 'data' or 'wall'"),
        ({"ranker_replicas": "0"}, "ranker_replicas: "),
        ({"min_friends": "many"}, "min_friends: "),
    ],
)
def test_a_wrong_argument_is_named(
    arguments: dict[str, Any], wrong: dict[str, str], named: str
) -> None:
    with pytest.raises(ValueError, match=r"^serve run serving\.app:build ") as caught:
        read_config({**arguments, **wrong})
    assert named in str(caught.value)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(ValueError, match="bundle: Field required"):
        read_config({})


def test_several_wrong_arguments_are_all_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"clock: .*; .*k: Extra") as caught:
        read_config({**arguments, "clock": "sundial", "k": "5"})
    assert "bundle" not in str(caught.value)


@pytest.mark.usefixtures("_own_environment")
def test_as_many_deployments_as_the_configuration_says(arguments: dict[str, Any]) -> None:
    def bound(**changes: str) -> list[str]:
        ingress = build({**arguments, **changes})._bound_deployment
        own = [one for one in ingress.init_args if isinstance(one, Application)]
        return [ingress.name, *(one._bound_deployment.name for one in own)]

    assert bound() == ["Ranker", "Explainer"]
    assert bound(explainer_replicas="0") == ["Ranker"]
    assert bound(explainer_replicas="0", retrieval="handle") == ["Ranker", "Retriever"]


@pytest.mark.usefixtures("_own_environment")
def test_the_fast_path_of_serve_is_on_unless_the_user_says_otherwise(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0")
    build(arguments)
    assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "0"


def test_a_folder_that_is_no_bundle_is_refused(arguments: dict[str, Any], repo: Path) -> None:
    with pytest.raises(ValueError, match="is not a bundle"):
        build({**arguments, "bundle": str(repo)})


def test_a_damaged_bundle_is_refused_before_anything_starts(
    arguments: dict[str, Any], bundle: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(bundle, damaged)
    (damaged / "items.parquet").write_bytes(b"other bytes")
    with pytest.raises(ValueError, match=r"items\.parquet"):
        build({**arguments, "bundle": str(damaged)})


def test_a_bundle_of_another_service_is_refused(bundle: Path, own_repo: Path) -> None:
    """The registry's `ranking_v1` has lost its social views since the model was trained."""
    store = FeatureStore(str(own_repo))
    views = [view for view in store.list_feature_views() if view.tags["source"] != "social"]
    store.apply([FeatureService(name="ranking_v1", features=views)])
    config = ServingConfig(bundle=bundle, repo=own_repo)
    with pytest.raises(ValueError, match=r"'ranking_v1' with fingerprint .*feast apply"):
        PLAIN_RANKER(config, None)


def test_methods_call_nothing_that_stays_behind() -> None:
    """Ray Serve sends the ingress class by value: a function of its module does not go along."""
    methods = [one for one in vars(PLAIN_RANKER).values() if inspect.isfunction(one)]
    assert len(methods) > 5
    functions = [one for one in vars(app).values() if inspect.isfunction(one)]
    here = {one.__name__ for one in functions if one.__module__ == app.__name__}
    assert "build" in here
    assert not here & {name for method in methods for name in method.__code__.co_names}
