"""The batch rows written again, and what came after the data on top of them, once."""

from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore

from serving.event_log import EventLog
from serving.feedback import Row
from serving.intake import Intake
from serving.pusher import FeaturePusher
from serving.ranker import SlateRanker
from serving.replay import main
from tests.serving.test_intake import Standing, drawn, rows_of, take


def test_rows_after_a_replay_are_the_rows_before_it(
    ranker: SlateRanker, own_repo: Path, bundle: Path, world: Path, tmp_path: Path
) -> None:
    (own_repo.parent / "data" / "current" / "features").symlink_to(world / "features")
    log = tmp_path / "feedback.jsonl"
    untouched = rows_of(own_repo)
    live: Any = Standing(ranker)
    pusher = FeaturePusher(FeatureStore(str(own_repo)))
    take(Intake(EventLog(log), pusher, live, 3.5), *drawn(ranker, 10))
    fed_back = rows_of(own_repo)
    assert fed_back != untouched
    arguments = ["--bundle", str(bundle), "--repo", str(own_repo), "--feedback-log", str(log)]
    for _ in range(2):
        main(arguments)
        assert_close(rows_of(own_repo), fed_back)
    Intake(EventLog(log), pusher, live, 3.5)  # a replica that starts finds nothing to push
    assert_close(rows_of(own_repo), fed_back)


def assert_close(found: dict[str, Row], expected: dict[str, Row]) -> None:
    """Counters are kept in 32 bits, and rounded once instead of after each event."""
    for user, row in expected.items():
        assert found[user] == {**row, "events_1d": pytest.approx(row["events_1d"], rel=1e-5)}
