"""The point-in-time join against Feast's own stores and joins written by hand, in one run.

`python -m tests.benchmarks.point_in_time --labels 1e6 --rows 1e6 --keys 1e4 --views 4 --json OUT`

Every contestant gets the same labels and Parquet files, runs in a process of its own, and is
compared with the right answer, value by value. Timed is the join: from labels in memory and views
on disk, with the store open and a first tiny join done, to the result in memory (Arrow; polars: its
own frame). Linux only. The machine should be idle: look at `uptime` first.
"""

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.joins.contestants import CONTESTANTS, find
from tests.benchmarks.joins.data import JoinSize
from tests.benchmarks.joins.race import Limits, Record
from tests.benchmarks.joins.studies import run_big, run_race, run_scaling, run_wide

# What holds where a flag is not given.
DEFAULTS: dict[str, dict[str, Any]] = {
    "race": {"labels": 100_000, "rows": 100_000, "keys": 1_000, "views": 4},
    "scaling": {"labels": 1, "rows": 1_000_000, "keys": 10_000, "views": 1},
    "wide": {"labels": 1_000_000, "rows": 1_000_000, "keys": 10_000, "views": 4},
    "big": {
        "labels": 100_000_000,
        "rows": 10_000_000,
        "keys": 100_000,
        "views": 3,
        "key_type": "int",
        "repeat": 1,
        "memory_gb": 8.0,
        "timeout_s": 3_600.0,
    },
}
PACKAGES = ("feast", "ray", "duckdb", "polars", "pyarrow", "numpy", "pandas", "dask")


def main(arguments: list[str] | None = None) -> None:
    """Parse the flags, run what they ask for, print it, and write the figures."""
    args = _parser().parse_args(arguments)
    study = _study(args)
    given = {key: value for key, value in vars(args).items() if value is not None}
    wanted = {**DEFAULTS[study], **given}
    size = JoinSize(**{name: wanted[name] for name in JoinSize.model_fields if name in wanted})
    limits = Limits(**{name: wanted[name] for name in Limits.model_fields if name in wanted})
    clock = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - clock:6.0f} s] {line}", flush=True)

    report = {"study": study, "size": size.model_dump(), "limits": limits.model_dump()}
    report["machine"] = describe_machine()
    folder: Path = args.folder
    if study == "race":
        report |= run_race(size, limits, folder, _names(args), say)
    elif study == "scaling":
        report |= run_scaling(size, limits, folder, args.scaling, say)
    elif study == "wide":
        report |= run_wide(size, limits, folder, say)
    else:
        report |= run_big(size, limits, folder, say)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(summary(report))


def describe_machine() -> dict[str, Any]:
    """What it runs on, and how busy that was."""
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(psutil.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def summary(report: dict[str, Any]) -> str:
    """The figures for a person: a line a contestant, and the ratios."""
    lines = []
    for point in report.get("points", [report]):
        if "series" in point:
            lines.append(f"{point['series']}, {point['size']['labels']:,} labels")
        lines += [_line(name, record) for name, record in point["contestants"].items()]
    for name, value in report["ratios"].items():
        lines.append(f"{name:<36} {'-' if value is None else format(value, '.3g')}")
    return "\n".join(lines)


def _line(name: str, record: Record) -> str:
    if "wall_s" not in record:
        return f"  {name:<24} {record['outcome']}"
    wall, above = record["wall_s"], record["above_baseline_bytes"]["median"]
    return (
        f"  {name:<24} {wall['median']:9.3f} s ({wall['min']:.3f} to {wall['max']:.3f})  "
        f"+{above / 1e9:.2f} GB  {record['outcome']}"
    )


def _study(args: argparse.Namespace) -> str:
    if args.scaling:
        return "scaling"
    return "wide" if args.wide else "big" if args.big else "race"


def _names(args: argparse.Namespace) -> list[str]:
    names = [*(args.only or CONTESTANTS), *args.also]
    for name in [*names, *args.skip]:
        find(name)
    return [name for name in names if name not in args.skip]


def _count(text: str) -> int:
    """1000000, 1_000_000 or 1e6."""
    return int(float(text))


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _list(text: str) -> list[str]:
    return text.split(",")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", type=Path, required=True, help="file for the figures")
    add("--labels", type=_count, help="labels (1e6 may be written); default 1e5")
    add("--rows", type=_count, help="feature rows of each view; default 1e5")
    add("--keys", type=_count, help="users, each as likely as any other; default 1e3")
    add("--views", type=_count, help="views of four float columns; default 4")
    add("--key-type", choices=["string", "int"], help="'u0000123' or 123; default string")
    add("--order", choices=["time", "random"], help="of files and labels; default time, as a log")
    add("--seed", type=int, help="equal seeds give equal data; default 0")
    add("--repeat", type=int, help="runs of each contestant, interleaved; default 3")
    add("--timeout-s", type=float, help="for one join; default 600")
    add("--memory-gb", type=float, default=None, help="for one process with its children")
    add("--once-above-s", type=float, help="do not repeat joins longer than this; default 60")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data goes")
    names = ", ".join(CONTESTANTS)
    add("--only", type=_list, help=f"contestants, with commas between them, of: {names}")
    add("--skip", type=_list, default=[], help="contestants to leave out")
    add("--also", type=_list, default=[], help="contestants of your own, as module:name")
    studies = parser.add_argument_group("in place of the race").add_mutually_exclusive_group()
    studies.add_argument(
        "--scaling",
        type=_counts,
        metavar="SIZES",
        help="ours at these numbers of labels, as 1e6,3e6,1e7,3e7; rows as many, then --rows",
    )
    studies.add_argument(
        "--wide", type=int, metavar="WIDTH", help="what a float32 view this wide adds to pointers"
    )
    studies.add_argument(
        "--big", action="store_true", default=None, help="1e8 labels x 3 views, within 8 GB"
    )
    return parser


if __name__ == "__main__":
    main()
