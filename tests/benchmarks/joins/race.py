"""Runs contestants, each join in a process of its own, under a limit of time and of memory.

In: data on disk, names of contestants, limits. Out: a record a contestant, with the figures of each
repetition. Repetitions are interleaved, so that a change of the machine's pace meets all alike.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
from psutil import virtual_memory
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from tests.benchmarks.joins.contestants import find
from tests.benchmarks.joins.data import JoinData
from tests.benchmarks.joins.one_join import Task, tree_memory

ROOT = Path(__file__).resolve().parents[3]
FIGURES = ("wall_s", "cpu_s", "peak_bytes", "above_baseline_bytes")
_PREPARE_LIMIT_S = 600.0  # imports and a local Ray on a busy machine

Record = dict[str, Any]


class Limits(BaseModel):
    """What a contestant may take, and how often it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repeat: PositiveInt = 3
    timeout_s: PositiveFloat = 600.0
    memory_gb: PositiveFloat = Field(default_factory=lambda: 0.8 * virtual_memory().total / 1e9)
    """Of the process and its descendants, in 10^9 bytes; default 80 % of the machine."""
    once_above_s: PositiveFloat = 60.0
    """A contestant whose join took longer is not repeated."""


def race(
    entries: Sequence[tuple[str, str, JoinData]],
    limits: Limits,
    say: Callable[[str], None],
    sampled: bool = False,
) -> dict[str, Record]:
    """entries: (name of the record, contestant, data). Out: the record of each name."""
    runs: dict[str, list[Record]] = {name: [] for name, _, _ in entries}
    for number in range(limits.repeat):
        for name, contestant, data in entries:
            if runs[name] and not _worth_repeating(runs[name], limits):
                continue
            run = run_once(contestant, data, limits, sampled)
            runs[name].append(run)
            say(f"run {number + 1} of {limits.repeat}  {name:<24} {in_words(run)}")
    return {name: _record(contestant, runs[name]) for name, contestant, _ in entries}


def run_once(contestant: str, data: JoinData, limits: Limits, sampled: bool = False) -> Record:
    """One join in a process of its own, which is ended where it passes a limit."""
    out = data.folder / "run.json"
    for old in (out, out.with_suffix(".state")):
        old.unlink(missing_ok=True)
    task = Task(contestant=contestant, data=data, out=out, sampled=sampled)
    log = data.folder / "run.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.joins.one_join", task.model_dump_json()],
            cwd=data.folder,  # where an in-memory DuckDB spills
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONWARNINGS": "ignore",
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(data.folder),  # whatever a stopped one leaves goes with the data
            },
        )
        try:
            ended = _watched(process, out.with_suffix(".state"), limits)
        finally:
            _end_tree(process.pid)
            process.wait()
    for leftover in data.folder.glob("registry_*"):
        shutil.rmtree(leftover)
    if ended:
        return ended
    if process.returncode != 0 or not out.exists():
        return {"outcome": f"failed: {_reason(process.returncode, log)}"}
    run: Record = json.loads(out.read_text())
    run["above_baseline_bytes"] = run["peak_bytes"] - run["baseline_bytes"]
    return run


def in_words(run: Record) -> str:
    """One line about one run."""
    if "peak_bytes" not in run or "cpu_s" not in run:
        return str(run["outcome"])
    return (
        f"{run['wall_s']:8.3f} s  {run['cpu_s']:8.2f} CPU s  "
        f"{run['peak_bytes'] / 1e9:6.2f} GB (+{run['above_baseline_bytes'] / 1e9:.2f})  "
        f"{run['outcome']}"
    )


def median(record: Record, figure: str) -> float | None:
    """The median of a figure; None where the contestant did not get to its end."""
    return record[figure]["median"] if figure in record else None


def at_least(record: Record) -> float | None:
    """Seconds that a contestant had run when it was stopped; None for one that was not."""
    seconds: float | None = record.get("wall_s_at_least")
    return seconds


def ratio(over: float | None, under: float | None) -> float | None:
    """over / under; None where one is missing."""
    return over / under if over is not None and under else None


def least(values: Iterable[float | None]) -> float | None:
    """The least of those that are there."""
    return min((value for value in values if value is not None), default=None)


def _worth_repeating(runs: Sequence[Record], limits: Limits) -> bool:
    return "cpu_s" in runs[-1] and runs[-1]["wall_s"] <= limits.once_above_s


def _record(contestant: str, runs: Sequence[Record]) -> Record:
    """One record of all runs: figures as median and range, the rest of the worst run."""
    worst = next((run for run in runs if run["outcome"] != "right"), runs[0])
    about = {key: value for key, value in worst.items() if key not in (*FIGURES, "baseline_bytes")}
    whole = [run for run in runs if "cpu_s" in run]
    entry = find(contestant)
    record = {"title": entry.title, "form": entry.form, **about, "runs": list(runs)}
    for figure in FIGURES if whole else ():
        values = [run[figure] for run in whole]
        record[figure] = {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
        }
    return record


def _watched(process: subprocess.Popen[bytes], state: Path, limits: Limits) -> Record | None:
    """None if it came to its end; else the record of a limit passed."""
    started, joining_since, peak = time.monotonic(), None, 0
    while process.poll() is None:
        time.sleep(0.25 if joining_since else 0.05)
        doing = state.read_text() if state.exists() else ""
        now = time.monotonic()
        if doing == "checking":
            process.wait()
            break
        if doing == "joining":
            joining_since = joining_since or now
            peak = max(peak, _memory(process.pid))
            passed = {"wall_s_at_least": now - joining_since, "peak_bytes_at_least": peak}
            if peak > limits.memory_gb * 1e9:
                return {"outcome": f"out of memory (limit {limits.memory_gb:g} GB)", **passed}
            if now - joining_since > limits.timeout_s:
                return {"outcome": f"out of time (limit {limits.timeout_s:g} s)", **passed}
        elif now - started > _PREPARE_LIMIT_S:
            return {"outcome": f"failed: not ready within {_PREPARE_LIMIT_S:g} s"}
    return None


def _memory(pid: int) -> int:
    try:
        return tree_memory(psutil.Process(pid))
    except psutil.NoSuchProcess:  # it has just ended
        return 0


def _end_tree(pid: int) -> None:
    """End a process of ours and whatever it started (Ray's daemons)."""
    try:
        process = psutil.Process(pid)
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue  # ended by itself


def _reason(code: int, log: Path) -> str:
    if code == -9:
        return "ended by the system, which was out of memory"
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"exit code {code}"
