"""The log of impressions: what is written is read, by line, and a full disk fails nobody."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from serving.impressions import Impression, ImpressionLog, read_impressions

ONE = Impression("r1", "v1", "Zoë\n", 1_700_000_000_000_000, ["a", "b"], [0.9, 0.01], 0.1)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """By two replicas in turn, in a folder that is not there yet."""
    path = tmp_path / "new" / "impressions.jsonl"
    first, second = ImpressionLog(path), ImpressionLog(path)
    written = [replace(ONE, request_id=f"r{number}") for number in range(4)]
    for log, impression in zip([first, second, first, second], written, strict=True):
        log.append(impression)
    assert list(read_impressions(path)) == written


def test_a_line_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    ImpressionLog(path).append(ONE)
    whole = path.read_text()
    path.write_text(whole + whole[:-1])
    assert list(read_impressions(path)) == [ONE]


@pytest.mark.parametrize("line", ["no JSON", "{}", '{"user_id": 3}', "[1]"])
def test_a_line_that_is_no_impression_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "impressions.jsonl"
    ImpressionLog(path).append(ONE)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(ValueError, match="line 2 is no impression"):
        list(read_impressions(path))


def test_a_log_that_takes_nothing_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray, once started in this process, keeps its loggers' lines to itself.
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", True)
    path = tmp_path / "impressions.jsonl"
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        ImpressionLog(path).append(ONE)
    assert "impression r1 is lost" in caplog.text
