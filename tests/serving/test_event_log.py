"""The log: whole events, each once, in one order for all who read and from all who write."""

import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path

import pytest

from serving.event_log import Event, EventLog, LogReader, locked


def event(number: int, received_at_us: int = 0) -> Event:
    return Event(f"e{number}", f"ü{number}", "i", "click", None, number, True, received_at_us)


def append(path: Path, numbers: range) -> None:
    """Events one by one, as a replica does it: read to the end, then write."""
    log, reader = EventLog(path), LogReader(path)
    for number in numbers:
        with locked(path):
            reader.new()
            log.append([event(number)], reader.offset)


def numbers(path: Path) -> list[str]:
    return [one.event_id for one in LogReader(path).new()]


def test_an_event_is_read_as_it_was_written_and_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log.jsonl"
    reader = LogReader(path)
    assert reader.new() == []
    append(path, range(2))
    assert reader.new() == [event(0), event(1)]
    assert reader.new() == []
    append(path, range(2, 3))
    assert reader.new() == [event(2)]


def test_a_limit_leaves_the_rest_for_later(tmp_path: Path) -> None:
    append(tmp_path / "log", range(5))
    reader = LogReader(tmp_path / "log")
    assert [len(reader.new(limit=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_what_the_data_holds_already_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [json.dumps(asdict(event(n, received_at_us=n))) + "\n" for n in range(4)]
    path.write_text("".join(lines))
    assert [one.event_id for one in LogReader(path, since_us=2).new()] == ["e2", "e3"]


def test_a_line_that_its_writer_did_not_end_was_never_accepted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, range(1))
    with path.open("a") as file:
        file.write(path.read_text()[:20])
    assert numbers(path) == ["e0"]
    append(path, range(1, 2))
    assert numbers(path) == ["e0", "e1"]


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    append(tmp_path / "log", range(1))
    with (tmp_path / "log").open("a") as file:
        file.write("nonsense\n")
    place = (tmp_path / "log").stat().st_size - len("nonsense\n")
    with pytest.raises(ValueError, match=f"byte {place} begins no feedback event"):
        numbers(tmp_path / "log")


def test_a_log_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    append(tmp_path / "log", range(3))
    reader = LogReader(tmp_path / "log")
    reader.new()
    (tmp_path / "log").write_text("")
    with pytest.raises(ValueError, match="restart the application"):
        reader.new()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=append, args=(path, range(start, start + 30)))
        for start in (0, 30, 60)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert sorted(numbers(path)) == sorted(f"e{number}" for number in range(90))
