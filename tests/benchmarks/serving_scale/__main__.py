"""Make a bundle and a feature repo at scale: `python -m tests.benchmarks.serving_scale --out DIR`.

DIR gets data/current (the synthetic world, its features and its online store), feature_repo (the
definitions, applied) and bundle. Then
`serve run serving.app:build bundle=DIR/bundle repo=DIR/feature_repo clock=data` serves it, and
`python -m tests.benchmarks.serving --scale DIR` measures it. What is not as in a real run stands in
texts.py and bundle.py.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.serving_scale.bundle import make_bundle
from tests.benchmarks.serving_scale.dataset import Size, apply_repo, build_data, put_users_online


def generate(folder: Path, size: Size) -> None:
    """Make everything in `folder`, which must not exist yet."""
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {what}", flush=True)

    data = build_data(folder, size)
    say("tables and features")
    repo = apply_repo(folder)
    say("feature repo applied")
    # The two halves share nothing but what they read.
    online = multiprocessing.get_context("spawn").Process(
        target=put_users_online, args=(repo, data)
    )
    online.start()
    make_bundle(repo, data, folder)
    say("bundle")
    online.join()
    if online.exitcode:
        raise ChildProcessError(f"the online store could not be filled (status {online.exitcode})")
    say("users online")
    (folder / "size.json").write_text(json.dumps(asdict(size), indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    own = Size()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.serving_scale", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--users", type=int, default=own.users, help="(%(default)s)")
    parser.add_argument("--items", type=int, default=own.items, help="(%(default)s)")
    parser.add_argument("--events-per-user", type=int, default=own.events_per_user, metavar="N")
    parser.add_argument("--text-dims", type=int, default=own.text_dims, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=own.seed, help="(%(default)s)")
    given = vars(parser.parse_args(arguments))
    out: Path = given.pop("out")
    if out.exists():
        raise SystemExit(f"{out} exists; remove it, or give another --out")
    generate(out.absolute(), Size(**given))


if __name__ == "__main__":
    main()
