"""Demo: the commands that a user would type, one after the other, on one data set.

`make demo` runs this: import and features, `feast apply`, `feast materialize`, training with Ray,
Ray Serve, three users' explained recommendations, one piece of feedback, and everything is shut
down again. Each command is printed before it runs, so that it can be typed by hand.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.pipelines.tables import DatasetInfo, table_path

SERVER = "http://127.0.0.1:8000"
START_TIMEOUT_S = 180
STRANGER = "somebody-new"


def main() -> None:
    options = parse_arguments()
    # Threads that wait give their core to others: the commands share a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    started = time.monotonic()
    data, run = Path("data") / options.dataset, Path("runs") / options.dataset
    import_data(options, data)
    register_features(data)
    train(options, data, run)
    with served(run):
        show_recommendations(data)
    print_where_to_look(data, run, time.monotonic() - started)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving.demo", description=__doc__)
    parser.add_argument(
        "--dataset", default="world", help="world, lastfm, movielens, amazon-beauty"
    )
    parser.add_argument("--source", help="folder with the publisher's files (not for world)")
    parser.add_argument("--seed", default="7")
    parser.add_argument("--ablate", help="sources to retrain without; default social for world")
    return parser.parse_args()


def import_data(options: argparse.Namespace, data: Path) -> None:
    source = ["--source", options.source] if options.source else []
    step("Raw files to canonical tables and time-stamped features")
    build = [sys.executable, "-m", "feature_repo.pipelines.build", "--dataset", options.dataset]
    call([*build, *source, "--out", str(data), "--seed", options.seed])


def register_features(data: Path) -> None:
    end_at = DatasetInfo.read(data).last_event_at + timedelta(days=2)
    step("Register the features, and load the newest values into the online store")
    call(["feast", "-c", "feature_repo", "apply"])
    end = end_at.strftime("%Y-%m-%dT%H:%M:%S")
    call(["feast", "-c", "feature_repo", "materialize", "1970-01-01T00:00:00", end])


def train(options: argparse.Namespace, data: Path, run: Path) -> None:
    ablate = options.ablate
    if ablate is None:
        ablate = "social" if options.dataset == "world" else ""
    shutil.rmtree(run, ignore_errors=True)
    step("Train the fusion model with Ray on point-in-time-joined data, evaluate, write the bundle")
    command = [sys.executable, "-m", "training.train", "--repo", "feature_repo"]
    command += ["--data", str(data), "--out", str(run), "--seed", options.seed]
    call([*command, *(["--ablate", ablate] if ablate else [])])


@contextmanager
def served(run: Path) -> Iterator[None]:
    """Ray Serve with the bundle, until the block ends."""
    step("Serve ranker and explainer with Ray Serve")
    require_free_port()
    command = ["serve", "run", "serving.app:build", f"bundle={run / 'bundle'}", "clock=data"]
    print(f"  $ {shlex.join(command)} &", flush=True)
    log = run / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_until_healthy(process, log)
            yield
        finally:
            stop(process)


def require_free_port() -> None:
    """Otherwise another server would answer, with another bundle."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            raise SystemExit("port 8000 is taken; end the other server, e.g. `serve shutdown`")


def wait_until_healthy(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            health = ask("GET", "/healthz")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
            continue
        print(f"  ready: {health['num_items']} items, answering as of {health['at']}")
        return
    tail = "\n".join(log.read_text().splitlines()[-15:])
    raise SystemExit(f"the server did not come up; the end of {log}:\n{tail}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, as a person would; SIGTERM where that is ignored (in a script's background).

    Only then are the rest of its processes killed: Ray's proxy outlives that and holds the port.
    """
    for number, patience_s in ((signal.SIGINT, 60), (signal.SIGTERM, 30)):
        process.send_signal(number)
        try:
            process.wait(timeout=patience_s)
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    print("  stopped the server")


def show_recommendations(data: Path) -> None:
    active, newcomer = pick_users(data)
    step("Ask for recommendations")
    slate = show_user(
        active, "a user with a long history; the language model writes", explain="llm"
    )
    show_user(newcomer, "the user with the shortest history", explain="template")
    show_user(STRANGER, "nobody has seen this user", explain="template")
    if slate["items"]:
        show_feedback(active, slate["items"][0])


def pick_users(data: Path) -> tuple[str, str]:
    """A user with many take-ups and one with few, the same at each run."""
    log = pq.read_table(table_path(data, "interactions"), columns=["user_id", "timed"])
    counts = log.filter(pc.field("timed")).group_by("user_id").aggregate([("timed", "count")])
    order = counts.sort_by([("timed_count", "descending"), ("user_id", "ascending")])
    users: pa.ChunkedArray = order.column("user_id")
    return users[len(users) // 10].as_py(), users[len(users) - 1].as_py()


def show_user(user_id: str, who: str, explain: str) -> dict[str, Any]:
    body = {"user_id": user_id, "k": 3, "explain": explain}
    print(f"\n  $ curl -s {SERVER}/v1/recommend --json '{json.dumps(body)}'")
    answer = ask("POST", "/v1/recommend", body)
    history = ask("GET", f"/v1/users/{user_id}")["history"][:4]
    print(f"  {who}" + (f", last: {'; '.join(history)}" if history else ""))
    for place, item in enumerate(answer["items"], start=1):
        show_item(place, item)
    return answer


def show_item(place: int, item: dict[str, Any]) -> None:
    shares = sorted(item["contributions"].items(), key=lambda pair: -abs(pair[1]))
    counted = "  ".join(f"{source} {value:+.2f}" for source, value in shares)
    print(f"   {place}. {item['title']}   [{item['channel']}]   {counted}")
    reason = f"“{item['explanation']['text']}” — {item['explanation']['writer']}"
    print(textwrap.indent(textwrap.fill(reason, 92), "      "))


def show_feedback(user_id: str, item: dict[str, Any]) -> None:
    """Taking an item up removes it from the next answer and moves the rest."""
    body = {"user_id": user_id, "item_id": item["item_id"], "action": "click"}
    print(f"\n  $ curl -s {SERVER}/v1/feedback --json '{json.dumps(body)}'")
    pushed = ask("POST", "/v1/feedback", body)["updated_views"]
    print(f"  {item['title']} was taken up; pushed to Feast: {', '.join(pushed) or 'nothing'}")
    again = ask("POST", "/v1/recommend", {"user_id": user_id, "k": 3, "explain": "none"})
    print("  the next answer: " + "; ".join(entry["title"] for entry in again["items"]))


def print_where_to_look(data: Path, run: Path, seconds: float) -> None:
    step(f"Done in {seconds / 60:.1f} minutes. Where to look next")
    print(f"  {data / 'report' / 'data_report.html'}   what came in, what was rejected and why")
    print(f"  {run / 'report.html'}   the evaluation, with plots")
    print(f"  {run / 'bundle' / 'MODEL_CARD.md'}   what the model is and is not for")
    print("  feast -c feature_repo ui   the registered features in a browser")
    print(f"  serve run serving.app:build bundle={run / 'bundle'} clock=data")
    print(f"  {SERVER}   then: the console; {SERVER}/docs the HTTP interface")


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def call(command: list[str]) -> None:
    """Run one command in sight of the reader; a failure ends the demo with its exit status."""
    words = ["python" if word == sys.executable else word for word in command]
    print(f"  $ {shlex.join(words)}", flush=True)
    started = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    if status:
        raise SystemExit(status)
    print(f"  ({time.monotonic() - started:.0f} s)", flush=True)


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(SERVER + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=120) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


if __name__ == "__main__":
    main()
