"""Fixtures that several folders of tests share: a small world, its registry, a tiny bundle.

All three are made once per run, in about 20 seconds of one core, and are for reading: a test that
writes (feedback, say) takes a copy. At the end the run fails if somebody wrote to them after all.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DEFINITIONS = Path(__file__).resolve().parents[1] / "feature_repo"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the published data sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("POTLUCK_REAL_DATA", REAL_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set POTLUCK_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a synthetic world: 80 users, 100 items, 2,500 events, all sources."""
    from feature_repo.pipelines.build import main

    data = tmp_path_factory.mktemp("world") / "data" / "tiny"
    size = ["--users", "80", "--items", "100", "--events", "2500", "--grid-days", "30"]
    assert main(["--dataset", "world", "--out", str(data), "--seed", "7", *size]) == 0
    with unchanged(data / "tables", data / "features"):
        yield data


@pytest.fixture(scope="session")
def repo(world: Path) -> Iterator[Path]:
    """The feature repo beside the world: applied by Feast's own command, and materialised."""
    from feast import FeatureStore

    from feature_repo.pipelines.tables import DatasetInfo

    folder = world.parent.parent / "feature_repo"
    copy_definitions(folder)
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(folder), "apply"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Rows that stand on a grid of days come after the last event that they hold.
    end_at = DatasetInfo.read(world).last_event_at + timedelta(days=31)
    FeatureStore(str(folder)).materialize(datetime(1970, 1, 1, tzinfo=UTC), end_at)
    with unchanged(world / "registry.db", world / "online.db"):
        yield folder


@pytest.fixture(scope="session")
def bundle(world: Path, repo: Path) -> Iterator[Path]:
    """The folder of a bundle whose model was trained for two short epochs."""
    from training.command import Job
    from training.config import TrainingConfig
    from training.train import train

    run = {"epochs": 2, "workers": 0, "negatives": 4, "negative_pool": 2, "batch_size": 256}
    config = TrainingConfig.model_validate({"model": {"width": 16}, "run": run})
    out = world.parent.parent / "runs" / "tiny"
    path = train(Job(repo, world, out, "ranking_v1", ablate=(), resume=False, config=config))
    with unchanged(path):
        yield path


def copy_definitions(folder: Path) -> None:
    """The feature definitions and their configuration, as a feature repo of its own."""
    folder.mkdir()
    files = [*DEFINITIONS.glob("*.py"), *DEFINITIONS.glob("*.yaml"), DEFINITIONS / ".feastignore"]
    for path in files:
        shutil.copy(path, folder / path.name)


@contextmanager
def unchanged(*paths: Path) -> Iterator[None]:
    """Fails at its end if a file under the paths is not what it was at the beginning."""
    before = digests(paths)
    yield
    changed = {name for name, digest in before.items() ^ digests(paths).items()}
    assert not changed, f"a test changed what all tests share: {sorted(changed)}"


def digests(paths: Iterable[Path]) -> dict[str, str]:
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
