"""Batch: a slate for each user as Parquet, by `python -m serving.batch --bundle B --out DIR`.

In: a bundle, the feature repo, user ids. Out: a folder of Parquet with one row per user and rank:
what `/v1/recommend` would answer at one instant, without sentences. The folder appears whole or not
at all; run again, it is written anew. Ray Data spreads the users over machine or cluster.
"""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from feast import FeatureStore
from tqdm import tqdm

from serving.api import RecommendRequest
from serving.clock import Clock, ClockName, instant, microseconds
from serving.config import ServingConfig
from serving.counting import Counts
from serving.event_log import LogReader
from serving.feedback import Rejections
from serving.live import Live
from serving.ranker import Slate, SlateRanker
from serving.rollout import bundle_folder
from training.bundle import load_bundle
from training.command import exit_status

BLOCK_USERS = 2_000  # some seconds of work; Ray Data costs about 50 ms a block
RECEIPT = "_batch.json"  # readers of Parquet folders pass over such names

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int32()),  # 1 for the first
        ("item_id", pa.string()),
        ("score", pa.float64()),
        ("channel", pa.string()),
        ("contributions", pa.map_(pa.string(), pa.float64())),  # by source
        ("version", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class BatchJob:
    """Where a batch reads and writes."""

    bundle: Path
    repo: Path
    out: Path
    feedback_log: Path
    k: int
    at_us: int
    """The instant that all slates are made for."""
    users: tuple[str, ...]


class Standstill(Clock):
    """Shows one instant."""

    def __init__(self, at: datetime) -> None:
        super().__init__("data", at)

    def now_us(self) -> int:
        return self._start_us


class Scorer:
    """Ranks for blocks of users in one worker."""

    def __init__(self, job: BatchJob) -> None:
        torch.set_num_threads(1)  # there is a worker for each core
        store = FeatureStore(repo_path=str(job.repo))
        live = Live(ServingConfig(bundle=job.bundle, repo=job.repo), store).state
        bundle, snapshot = live.ranker.bundle, live.snapshot
        self._k = job.k
        # Of the live ranker's channels some keep the instant that they were made at, and all are
        # left out when they are late; here nobody waits.
        self._ranker = SlateRanker(bundle, store, Standstill(instant(job.at_us)), snapshot)
        since_us = microseconds(bundle.as_of)
        self._rejections = Rejections()
        self._rejections.add(LogReader(job.feedback_log, since_us=since_us).new())
        Counts(snapshot, job.feedback_log).catch_up(snapshot)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Users (`user_id`) -> their slates, in `SCHEMA`."""
        slates = [self._slate(user_id) for user_id in block.column("user_id").to_pylist()]
        return pa.Table.from_pylist([row for slate in slates for row in rows(slate)], SCHEMA)

    def _slate(self, user_id: str) -> Slate:
        request = RecommendRequest(user_id=user_id, k=self._k, explain="none")
        return self._ranker.recommend(request, self._rejections.of(user_id))


def rows(slate: Slate) -> Iterator[dict[str, Any]]:
    """The slate's items as rows of `SCHEMA`."""
    for rank, ranked in enumerate(slate.items, start=1):
        yield {
            "user_id": slate.user.user_id,
            "rank": rank,
            "item_id": ranked.evidence.item_id,
            "score": ranked.score,
            "channel": ranked.channel,
            "contributions": list(ranked.evidence.contributions.items()),
            "version": slate.version,
            "at": instant(slate.at_us),
        }


def run(job: BatchJob) -> Path:
    """Score all users of the job. ValueError for a folder that is no earlier result."""
    if job.out.exists() and not (job.out / RECEIPT).exists():
        raise ValueError(f"{job.out} exists and is no result of a batch; give another --out")
    new = job.out.with_name(job.out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)  # of a batch that was broken off
    new.mkdir(parents=True)
    num_rows = 0
    with tqdm(total=len(job.users), unit=" users") as progress:
        for number, scored in enumerate(_scored(job)):
            pq.write_table(scored, new / f"part-{number:05}.parquet")
            num_rows += scored.num_rows
            progress.update(len(scored.column("user_id").unique()))
    receipt = {
        "bundle": str(job.bundle),
        "at": instant(job.at_us).isoformat(),
        "k": job.k,
        "num_users": len(job.users),
        "num_rows": num_rows,
    }
    (new / RECEIPT).write_text(json.dumps(receipt, indent=1) + "\n")
    shutil.rmtree(job.out, ignore_errors=True)
    return new.rename(job.out)


def _scored(job: BatchJob) -> Iterator[pa.Table]:
    """Blocks of slates in the order of the users, as workers finish them."""
    import ray  # only what runs over it pays for it
    import ray.data

    if not ray.is_initialized():
        ray.init(include_dashboard=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the driver shows one, of users
    context.execution_options.preserve_order = True  # so that two runs write the same files
    # One CPU stays free: Ray Data waits for ever when actors hold them all.
    num_workers = max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
    num_blocks = max(1, min(len(job.users), num_workers), math.ceil(len(job.users) / BLOCK_USERS))
    blocks = [
        pa.table({"user_id": pa.array(block.tolist(), pa.string())})
        for block in np.array_split(np.array(job.users, dtype=object), num_blocks)
    ]
    slates = ray.data.from_arrow(blocks).map_batches(
        Scorer,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(size=min(num_workers, num_blocks)),
        batch_size=None,
        batch_format="pyarrow",
    )
    yield from slates.iter_batches(batch_size=None, batch_format="pyarrow")


def read_job(arguments: Sequence[str] | None = None) -> BatchJob:
    """The command line. Paths are made absolute: Ray's workers run in folders of their own."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.batch", description="Write a slate for each user as Parquet."
    )
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="folder that training wrote")
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    add("--out", type=Path, required=True, help="folder to write; an earlier result is replaced")
    add("--k", type=int, default=20, choices=range(1, 101), metavar="1..100", help="(%(default)s)")
    add("--users", type=Path, help="file with one user id a line; all users of the bundle without")
    add("--clock", choices=get_args(ClockName), default="wall", help="as of serving (%(default)s)")
    add("--feedback-log", type=Path, help="feedback.jsonl beside the bundle without")
    given = parser.parse_args(arguments)
    path = bundle_folder(given.bundle).absolute()  # all workers take the same
    bundle = load_bundle(path)
    users = bundle.seen.user_ids
    if given.users is not None:
        if not given.users.is_file():
            raise ValueError(f"--users: there is no file {given.users}")
        users = [line for line in given.users.read_text(encoding="utf-8").split("\n") if line]
    if not users:
        raise ValueError(f"--users: {given.users} names no user")
    return BatchJob(
        bundle=path,
        repo=given.repo.absolute(),
        out=given.out.absolute(),
        feedback_log=(given.feedback_log or given.bundle.parent / "feedback.jsonl").absolute(),
        k=given.k,
        at_us=Clock(given.clock, bundle.as_of).now_us(),
        users=tuple(dict.fromkeys(users)),
    )


if __name__ == "__main__":
    sys.exit(exit_status(lambda: print(f"wrote {run(read_job())}")))
