"""The process in which one contestant joins once, and is measured.

`python -m tests.benchmarks.joins.one_join TASK`, with a Task as JSON; `race.py` starts it. Writes
what it is doing beside `out`, so that the parent watches time and memory of the join alone, and
then the record to `out`. Linux only: peak memory is read from /proc.
"""

import gc
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from tests.benchmarks.joins.answers import judge_pointers, judge_rows, judge_sample
from tests.benchmarks.joins.contestants import Contestant, find
from tests.benchmarks.joins.data import JoinData, JoinSize, write_data

_STATUS = Path("/proc/self/status")


class Task(BaseModel):
    """What one process is to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contestant: str
    data: JoinData
    out: Path
    sampled: bool = False
    """Check a sample of the result by the oracle, in place of all of it."""


def run(task: Task) -> dict[str, Any]:
    """Prepare, warm up on a hundred labels, join, measure, compare with the right answer."""
    contestant = find(task.contestant)
    _warm_up(contestant, task)
    join = contestant.prepare(task.data)
    _say(task, "joining")
    record, result = _measured(join)
    _say(task, "checking")
    return {**record, **_judged(contestant, task, result)}


def tree_memory(process: psutil.Process) -> int:
    """Bytes resident in a process and its descendants, memory that they share counted once."""
    sizes = [_sizes(each) for each in [process, *process.children(recursive=True)]]
    return sum(own for own, _ in sizes) + max(shared for _, shared in sizes)


def _sizes(process: psutil.Process) -> tuple[int, int]:
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:  # it ended since it was listed
        return 0, 0
    return memory.rss - memory.shared, memory.shared


def _warm_up(contestant: Contestant, task: Task) -> None:
    """Modules that are loaded, and workers that are started, at the first join."""
    with tempfile.TemporaryDirectory(dir=task.data.folder) as folder:
        size = task.data.size.model_copy(update={"labels": 100, "rows": 100, "keys": 10})
        tiny = write_data(Path(folder), JoinSize.model_validate(size))
        contestant.prepare(tiny.model_copy(update={"views": task.data.views}))()


def _measured(join: Any) -> tuple[dict[str, Any], Any]:
    gc.collect()
    process = psutil.Process()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    baseline, cpu = tree_memory(process), _cpu_seconds(process)
    with _TreePeak(process) as peak:
        started = time.perf_counter()
        result = join()
        wall = time.perf_counter() - started
    record = {
        "wall_s": wall,
        "cpu_s": _cpu_seconds(process) - cpu,
        "baseline_bytes": baseline,
        "peak_bytes": max(peak.bytes, _peak_of_this_process()),
    }
    return record, result


class _TreePeak:
    """Samples the memory of this process's descendants; without any, the kernel's peak is exact."""

    def __init__(self, process: psutil.Process) -> None:
        self.bytes = 0
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "_TreePeak":
        if self._process.children():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.1):
            self.bytes = max(self.bytes, tree_memory(self._process))


def _cpu_seconds(process: psutil.Process) -> float:
    """CPU time of this process and its descendants, those that have ended included."""
    return sum(sum(_times(each)) for each in [process, *process.children(recursive=True)])


def _times(process: psutil.Process) -> tuple[float, ...]:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return ()
    return times.user, times.system, times.children_user, times.children_system


def _peak_of_this_process() -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _judged(contestant: Contestant, task: Task, result: Any) -> dict[str, Any]:
    found = contestant.read(task.data, result)
    if task.sampled:
        return {"outcome": judge_sample(task.data, found), "rows": task.data.size.labels}
    judge = judge_pointers if contestant.form == "pointers" else judge_rows
    verdict = judge(task.data, found)
    return {
        "outcome": verdict.outcome,
        "rows": verdict.rows,
        "rows_lost": verdict.rows_lost,
        "rows_added": verdict.rows_added,
        "values_differ": verdict.values_differ,
        "checksum": verdict.checksum,
        "expected_checksum": verdict.expected_checksum,
    }


def _say(task: Task, state: str) -> None:
    task.out.with_suffix(".state").write_text(state)


def main() -> None:
    """Do the task given as JSON."""
    task = Task.model_validate_json(sys.argv[1])
    task.out.write_text(json.dumps(run(task)))


if __name__ == "__main__":
    main()
