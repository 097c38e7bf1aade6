"""What a server in production stands on goes away or is replaced under load: Redis is killed, a
bundle is rolled out, the snapshot's writer is killed half-way.

One server for all of them, on the production configuration. Every answer is 200, but of what Redis
alone knows, which is 503 while it is down; no answer mixes versions, no acknowledged event is lost.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.pipelines.tables import DatasetInfo
from serving.pointer import target
from serving.rollout import roll_out
from serving.snapshot_files import MANIFEST as SNAPSHOT_MANIFEST
from serving.snapshot_files import UNFINISHED, snapshots_of
from serving.taking import main as take_snapshot
from tests.serving.redis_server import Redis, production_store
from tests.system.load import Asked, Load, Told, check, goes_well, slate_of, wait_until
from tests.system.server import Server, ask, serving
from training.bundle import MANIFEST, SERVED, hashes, load_bundle, read_manifest
from training.calibration import Calibration

pytestmark = [pytest.mark.ray, pytest.mark.slow]

USERS = ("u0000002", "u0000016", "u0000021")
STORED = f"/v1/users/{USERS[0]}"
ROUNDS: list[list[Asked]] = [
    [slate_of(USERS[0], explain="llm")],
    [slate_of(USERS[1], details=True)],
    [(STORED, None)],
]
# Of another item each time, so that the language model is asked, and there is nearly always a
# request that began with one version and ends when another is in use.
WHY = {"explain": "llm", "counterfactuals": True}
ITEMS = [f"i{number:07}" for number in range(100)]
ROUNDS += [
    [("/v1/explain", {**WHY, "user_id": user, "item_id": item}) for item in ITEMS]
    for user in USERS[1:]
]
MARK, LARGE = "Anew", 1e6

DIES_HALF_WAY = f"""
import os, runpy, signal, sys
def die(event, given):
    path = str(given[0]) if event == "open" else ""
    if "{UNFINISHED}" in path and path.endswith("{SNAPSHOT_MANIFEST}"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
runpy.run_module("serving.snapshot", run_name="__main__")
"""
"""A snapshot's writer that is killed when its arrays are written and its manifest is not."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("production")


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder, is_durable=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def bundles(bundle: Path, folder: Path) -> list[Path]:
    """The one that is served first, and one whose answers tell in each part that they are of it:
    titles have a mark, scores are large, probabilities are 1/2."""
    path = Path(shutil.copytree(bundle, folder / "anew" / "bundle"))
    items = pq.read_table(path / "items.parquet")
    titles = pc.binary_join_element_wise(items.column("title"), MARK, " ")
    place = items.column_names.index("title")
    pq.write_table(items.set_column(place, "title", titles), path / "items.parquet")
    served = json.loads((path / SERVED).read_text())
    served["weights"] = [[LARGE * weight for weight in row] for row in served["weights"]]
    (path / SERVED).write_text(json.dumps(served))
    (path / "calibration.json").write_text(Calibration(slope=0.0).model_dump_json())
    manifest = read_manifest(path).model_copy(update={"files": hashes(path)})
    (path / MANIFEST).write_text(manifest.model_dump_json())
    return [bundle, path]


@pytest.fixture(scope="module")
def server(
    world: Path, repo: Path, bundles: list[Path], redis: Redis, folder: Path, language_model: str
) -> Iterator[Server]:
    with production_store(repo, folder, redis.port) as store:
        end_at = DatasetInfo.read(world).last_event_at + timedelta(days=31)
        store.materialize(datetime(1970, 1, 1, tzinfo=UTC), end_at)
        roll_out(bundles[0], folder / "live", folder)
        explainer = {"explainer_url": language_model, "explainer_model": "slow"}
        guards = {"user_deadline_ms": 1000, "breaker_open_s": 0.5}
        with serving(repo, folder / "live", folder, repo=folder, **explainer, **guards) as running:
            yield running


@pytest.fixture(scope="module")
def load(server: Server) -> Iterator[Load]:
    with Load(ROUNDS, "feeder", ITEMS[3]) as running:
        wait_until(goes_well(running))
        yield running


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Python, with the folder's bundle and repo as the last arguments."""
    return subprocess.run(
        [sys.executable, *command, "--repo", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def versions(told: list[Told]) -> list[str]:
    return [one.body["version"] for one in told if "version" in one.body]


def wait_for(version: str, load: Load) -> None:
    def is_there() -> bool:
        told = versions(load.since(time.monotonic() - 1.0))
        return len(told) > 5 and set(told) == {version}

    wait_until(is_there)


def marks(told: Told) -> set[bool]:
    """Whether it is of the second bundle, by each part of an answer."""
    body: dict[str, Any] = told.body
    items = body["items"] if "items" in body else [body["item"]]
    texts = [one["text"] for one in body.get("counterfactuals", ())]
    texts += [one["title"] for one in (body.get("details") or {}).get("filtered", ())]
    for item in items:
        texts += [item["title"], item["explanation"]["text"]]
    numbers = [abs(item["score"]) for item in items]
    numbers += [sum(map(abs, item["contributions"].values())) for item in items]
    found = {MARK in text for text in texts} | {number > 1e3 for number in numbers}
    return found | {item["probability"] == 0.5 for item in items}


def test_redis_is_killed(redis: Redis, load: Load) -> None:
    began_s = time.monotonic()
    redis.kill()
    down_s = time.monotonic()
    time.sleep(5.0)
    while_down, health = load.since(down_s), ask("/healthz")["status"]
    redis.start()
    wait_until(goes_well(load))
    told = load.since(began_s)
    check(told)
    assert health == "degraded"
    assert {one.path for one in told if one.status != 200} == {STORED}
    asked = Counter(one.path for one in while_down)
    assert min(asked[path] for path in ("/v1/recommend", "/v1/explain", STORED)) > 0
    assert asked["/v1/feedback"] > 10  # not held up by a store that is down
    for one in while_down:
        if "degraded" in one.body:
            assert "user" in {part["stage"] for part in one.body["degraded"]}


def test_a_bundle_is_rolled_out(bundles: list[Path], folder: Path, load: Load) -> None:
    began_s = time.monotonic()
    done = run(folder, "-m", "serving.rollout", str(bundles[1]), "--to", str(folder / "live"))
    assert done.returncode == 0, done.stderr
    old, new = (f"{load_bundle(path).version}.bundle" for path in bundles)
    wait_for(new, load)
    told = load.since(began_s)
    assert check(told).keys() == {200}
    assert set(versions(told)) == {old, new}
    for one in told:
        if "version" in one.body:
            assert marks(one) == {one.body["version"] == new}, one


def test_a_snapshots_writer_is_killed_half_way(
    bundles: list[Path], folder: Path, load: Load
) -> None:
    began_s, snapshots = time.monotonic(), snapshots_of(bundles[1])
    live = ("--bundle", str(folder / "live"))
    assert run(folder, "-c", DIES_HALF_WAY, *live).returncode == -signal.SIGKILL
    left = list(snapshots.glob(f"{UNFINISHED}*/*"))
    assert left
    time.sleep(3.0)  # in which the server would look at it
    health = ask("/healthz")
    assert (health["status"], health["refresh_error"]) == ("ready", None)
    assert take_snapshot([*live, "--repo", str(folder)]) == 0
    assert not list(snapshots.glob(f"{UNFINISHED}*"))
    current = target(snapshots)
    assert current is not None
    version = load_bundle(bundles[1]).version
    wait_for(f"{version}.{current.name}", load)
    told = load.since(began_s)
    assert check(told).keys() == {200}
    assert set(versions(told)) == {f"{version}.bundle", f"{version}.{current.name}"}
    assert ask("/healthz")["refresh_error"] is None


def test_no_acknowledged_event_was_lost(server: Server, load: Load) -> None:
    """The last of the module: it ends the load."""
    load.check_acknowledged(server)
