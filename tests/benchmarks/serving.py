"""Serving at speed: the application under load, and what does nothing beside it, in one run.

`python -m tests.benchmarks.serving --users U --items N --candidates C --clients L --json OUT`

Makes a bundle of that size, or takes one (`--scale DIR`, from `tests.benchmarks.serving_scale`),
starts the application on Ray Serve, two floors behind the same proxy and a bare FastAPI server, and
loads one after the other from another process, in rounds. docs/serving.md says how to read it. The
machine should be idle: look at `uptime` first.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import ray
from ray import serve

from feature_repo.pipelines.tables import table_path
from serving.api import ExplainMode
from serving.app import build
from serving.compile import compile_bundle
from tests.benchmarks.point_in_time import describe_machine
from tests.benchmarks.serving_load import freshness, reads
from tests.benchmarks.serving_load.client import Outcome, Traffic, another_process, send
from tests.benchmarks.serving_load.figures import figures, line
from tests.benchmarks.serving_load.floors import (
    COMPOSED,
    NOOP,
    PATH,
    bare_server,
    composed,
    noop,
)
from tests.benchmarks.serving_load.freshness import Freshness
from tests.benchmarks.serving_load.page import table
from tests.benchmarks.serving_scale.__main__ import generate
from tests.benchmarks.serving_scale.dataset import Size
from tests.conftest import copy_definitions

HTTP_PORT = 8_000
OPEN_SHARE = 0.5  # of the application's own throughput: a load that it should bear
OPEN_CONNECTIONS = 64
NUM_USERS = 5_000
STRIDE = 397  # from the first user of one load to that of the next: who asked before is kept warm
NUM_CPUS = 8
CHANNELS = 5  # of seven that propose: together they propose more than are to be ranked


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the flags, measure, print the table, write the figures."""
    args = parser().parse_args(arguments)
    with TemporaryDirectory(prefix="serving-") as folder:
        scale = args.scale or Path(folder) / "scale"
        if not args.scale:
            generate(scale, Size(users=args.users, items=args.items))
        report = measure(args, scale.absolute(), Path(folder))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(report))


def measure(args: argparse.Namespace, scale: Path, folder: Path) -> dict[str, Any]:
    """Everything, as it goes into the JSON."""
    users, compiled = some_users(scale, args.seed), None
    if not args.eager:
        compiled = scale / "compiled"
        compile_bundle(scale / "bundle", compiled)
    with another_process() as process:
        print("reads", flush=True)
        read = process.submit(reads.measure, scale, users, args.candidates, compiled).result()
    bodies = {mode: requests(users, args.k, mode) for mode in ("template", "none")}
    with (
        served(args, scale, folder, compiled),
        bare_server() as bare_port,
        another_process() as process,
    ):
        explained, plain = bodies["template"], bodies["none"]
        places = {
            "app": Traffic(HTTP_PORT, PATH, explained),
            "plain": Traffic(HTTP_PORT, PATH, plain),
            "composed": Traffic(HTTP_PORT, COMPOSED + PATH, explained),
            "noop": Traffic(HTTP_PORT, NOOP + PATH, explained),
            "bare": Traffic(bare_port, PATH, explained),
        }
        outcomes = rounds(args, places, process)
        print("freshness", flush=True)
        fresh = freshness_of(args, users, explained, process)
    return {
        "size": json.loads((scale / "size.json").read_text())
        | {"candidates": args.candidates, "k": args.k, "clients": args.clients},
        "replicas": args.replicas,
        "compiled": compiled is not None,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "machine": describe_machine(),
        **figures(outcomes, read, fresh),
    }


@contextmanager
def served(
    args: argparse.Namespace, scale: Path, folder: Path, compiled: Path | None
) -> Iterator[None]:
    """The application and the floors, on one Ray Serve, until the block ends."""
    settings = {
        "bundle": scale / "bundle",
        "repo": own_repo(scale, folder),
        "feedback_log": folder / "feedback.jsonl",
        "candidates_per_channel": args.candidates // CHANNELS,
        "max_candidates": args.candidates,
        "compiled": compiled,
        "ranker_replicas": args.replicas,
    }
    # No language model: sentences are templates here, and its weights would fill the machine.
    application = build({**settings, "clock": "data", "explainer_replicas": 0})
    print("starting the application", flush=True)
    # Every replica asks for a CPU, also one that only waits for its turn to be measured.
    ray.init(num_cpus=NUM_CPUS, include_dashboard=False, log_to_driver=False)
    try:
        serve.run(application, name="app", route_prefix="/")
        serve.run(composed(), name="composed", route_prefix=COMPOSED)
        serve.run(noop(), name="noop", route_prefix=NOOP)
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def own_repo(scale: Path, folder: Path) -> Path:
    """The applied repo with an online store of its own: feedback is pushed there."""
    copy_definitions(folder / "feature_repo")
    online = folder / "data" / "current"
    online.mkdir(parents=True)
    for name in ("registry.db", "online.db"):
        shutil.copy(scale / "data" / "current" / name, online / name)
    return folder / "feature_repo"


def some_users(scale: Path, seed: int) -> list[str]:
    """Users drawn by how much they did, which is very uneven: some often, most never."""
    with duckdb.connect() as connection:
        counted = connection.execute(
            "SELECT user_id, count(*) AS num FROM read_parquet(?) GROUP BY ALL ORDER BY ALL",
            [str(table_path(scale / "data" / "current", "interactions"))],
        ).fetchall()
    num = np.array([num for _, num in counted])
    chosen = np.random.default_rng(seed).choice(len(num), NUM_USERS, p=num / num.sum())
    return [counted[place][0] for place in chosen]


def requests(users: Sequence[str], k: int, explain: ExplainMode) -> tuple[bytes, ...]:
    """What each of them asks."""
    asked = ({"user_id": user, "k": k, "explain": explain} for user in users)
    return tuple(json.dumps(one).encode() for one in asked)


def rounds(
    args: argparse.Namespace, places: Mapping[str, Traffic], process: ProcessPoolExecutor
) -> dict[str, list[Outcome]]:
    """By "place load", an outcome a round. In turn, so that what else runs hits all alike."""
    found: dict[str, list[Outcome]] = {}

    def load(name: str, place: str, **how: Any) -> Outcome:
        bodies = places[place].bodies
        first = STRIDE * sum(map(len, found.values())) % len(bodies)
        others = bodies[first:] + bodies[:first]
        traffic = replace(places[place], bodies=others, seconds=args.seconds, **how)
        outcome = process.submit(send, traffic).result()
        found.setdefault(f"{place} {name}", []).append(outcome)
        print(f"{place:>9} {name:<9} {line(outcome)}", flush=True)
        return outcome

    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", flush=True)
        for place in places:
            load("one", place, clients=1)
        for place in places:
            load("many", place, clients=args.clients)
        rate = OPEN_SHARE * found["app many"][-1].qps
        load("open", "app", clients=OPEN_CONNECTIONS, rate=rate)
    return found


def freshness_of(
    args: argparse.Namespace,
    users: Sequence[str],
    bodies: tuple[bytes, ...],
    process: ProcessPoolExecutor,
) -> dict[str, Freshness]:
    """Without other load, and while two others ask."""
    distinct = list(dict.fromkeys(users))[: 2 * args.trials]
    traffic = Traffic(HTTP_PORT, PATH, bodies, clients=2, seconds=1.0, warm_up_s=0.0)
    found = {"alone": freshness.measure(HTTP_PORT, distinct[: args.trials], args.k)}
    with ThreadPoolExecutor(1) as thread:
        trials = thread.submit(freshness.measure, HTTP_PORT, distinct[args.trials :], args.k)
        while not trials.done():
            process.submit(send, traffic).result()
        found["loaded"] = trials.result()
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--users", type=int, default=2_000, help="of the world that is made (%(default)s)")
    add("--items", type=int, default=20_000, help="(%(default)s)")
    add("--scale", type=Path, metavar="DIR", help="a made one; --users and --items do not count")
    add("--candidates", type=int, default=500, help="ranked for a request (%(default)s)")
    add("--k", type=int, default=20, help="length of a slate (%(default)s)")
    add("--clients", type=int, default=16, help="at saturation (%(default)s)")
    add("--replicas", type=int, default=2, help="of the ranker, one a core (%(default)s)")
    add("--eager", action="store_true", help="do not compile the model (`serving.compile`) first")
    add("--rounds", type=int, default=3, help="(%(default)s)")
    add("--seconds", type=float, default=1.5, help="of each load in each round (%(default)s)")
    add("--trials", type=int, default=200, help="of freshness, with and without load (%(default)s)")
    add("--seed", type=int, default=7, help="of which users ask (%(default)s)")
    add("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    return found


if __name__ == "__main__":
    main()
