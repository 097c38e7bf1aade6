"""Replay: the online store filled anew from the batch rows, and what was fed back since on top.

`python -m serving.replay --bundle B --repo R`, in place of `feast materialize`, which knows nothing
of events after the data and would take them out of every row. Replicas may go on serving: what is
fed back meanwhile is pushed afterwards. Broken off, it is simply run again.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore

from serving.clock import microseconds
from serving.event_log import EventLog, LogReader, locked
from serving.pusher import FeaturePusher, PushMark, mark_beside
from serving.rollout import bundle_folder
from training.bundle import load_bundle
from training.command import exit_status

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def replay(store: FeatureStore, log: EventLog, data_end_at: datetime, until: datetime) -> int:
    """Write the batch rows up to `until`, then those that events received since the data's end
    change; returns the number of these events."""

    def read(features: list[str], key: str, names: list[str]) -> dict[str, list[Any]]:
        """From the offline store: the online store may have rows that feedback alone made."""
        asked = pd.DataFrame({key: names, "event_timestamp": until})
        job = store.get_historical_features(asked, features, full_feature_names=True)
        columns: dict[str, list[Any]] = job.to_arrow().to_pydict()
        assert columns[key] == names  # one row each, in the order asked for
        return columns

    pusher, reader = FeaturePusher(store), LogReader(log.path, since_us=microseconds(data_end_at))
    mark_path = mark_beside(log.path)
    with locked(mark_path):
        store.materialize(BEGINNING, until)
        with locked(log.path):
            events = reader.new()
        pusher.put(mark_path, PushMark(reader.offset, pusher.after(events, read)))
    return len(events)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m serving.replay", description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="made from the data that the batch rows are of")
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    add("--feedback-log", type=Path, help="feedback.jsonl beside the bundle without")
    given = parser.parse_args(arguments)
    bundle = load_bundle(bundle_folder(given.bundle))
    store = FeatureStore(repo_path=str(given.repo))
    bundle.check(store)
    log = EventLog(given.feedback_log or given.bundle.parent / "feedback.jsonl")
    num = replay(store, log, bundle.as_of, datetime.now(UTC))
    print(f"materialised, and {num} events since {bundle.as_of:%Y-%m-%d %H:%M:%S} on top")


if __name__ == "__main__":
    sys.exit(exit_status(main))
