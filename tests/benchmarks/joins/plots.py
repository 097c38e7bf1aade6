"""Two plots of the join benchmark: seconds of each contestant, and growth with size.

In: a report of the benchmark. Out: an SVG file, the same bytes for the same figures.
"""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tests.benchmarks.joins.race import Record, median
from tests.benchmarks.joins.studies import sort_work

OURS, THEIRS, STOPPED = "#1b7f5c", "#8a8f98", "#d9dbe0"


def draw_race(report: dict[str, Any], path: Path) -> None:
    """A bar a contestant, on a logarithmic axis; one that was stopped reaches its limit."""
    records: dict[str, Record] = report["contestants"]
    drawn = [(name, it, seconds) for name, it in records.items() if (seconds := _seconds(it))]
    figure = Figure(figsize=(8, 0.8 + 0.36 * len(drawn)), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, record, seconds) in enumerate(drawn):
        whole = "wall_s" in record
        color = OURS if name.startswith("potluck") else THEIRS if whole else STOPPED
        axes.barh(place, seconds, color=color, hatch="" if whole else "//", edgecolor="white")
        axes.text(seconds * 1.08, place, _words(record, seconds), va="center", fontsize=8)
    axes.set_yticks(range(len(drawn)), [record["title"] for _, record, _ in drawn], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=max(seconds for _, _, seconds in drawn) * 4)
    axes.set_xlabel("seconds (log)")
    _save(figure, path)


def draw_scaling(report: dict[str, Any], path: Path) -> None:
    """Seconds against labels, both logarithmic, each line with n log n through its first point."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, (series, form) in enumerate(
        (series, form)
        for series in dict.fromkeys(point["series"] for point in report["points"])
        for form in ("pointers", "rows")
    ):
        found = [
            (point["size"], seconds)
            for point in report["points"]
            if point["series"] == series
            and (seconds := median(point["contestants"][f"potluck_{form}"], "wall_s"))
        ]
        if not found:
            continue
        labels = [size["labels"] for size, _ in found]
        work = [sort_work(size["labels"], size["rows"]) for size, _ in found]
        color = f"C{number}"
        axes.plot(
            labels, [seconds for _, seconds in found], "o-", color=color, label=f"{form}, {series}"
        )
        expected = [found[0][1] * each / work[0] for each in work]
        axes.plot(labels, expected, ":", color=color, linewidth=1)
    axes.plot([], [], ":", color="black", linewidth=1, label="n log n through the first point")
    axes.set(xscale="log", yscale="log", xlabel="labels", ylabel="seconds")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8)
    _save(figure, path)


def _seconds(record: Record) -> float | None:
    """The median, or how long one that was stopped had run; None where it never began."""
    seconds = median(record, "wall_s")
    return record.get("wall_s_at_least") if seconds is None else seconds


def _words(record: Record, seconds: float) -> str:
    outcome: str = record["outcome"]
    if "wall_s" not in record:
        return outcome
    return f"{seconds:.3g} s" + ("" if outcome == "right" else f", {outcome}")


def _save(figure: Figure, path: Path) -> None:
    # Without a date and with fixed ids the same figures give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "joins", "svg.fonttype": "none"}):
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
