"""The three pictures of the data report, as SVG text to be set into the page.

They read the views `interactions` and `items` of a connection that report.py has prepared.
"""

import io

import duckdb
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from feature_repo.pipelines.tables import DatasetInfo

INK, ACCENT, SOFT, CUT = "#3b4252", "#2f6f8f", "#9fc3d1", "#c2603d"
NUM_BARS = 72
DAY_S = 86_400
# Text stays text, small and searchable; seeded ids make the same data give the same file.
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "potluck",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": "#c9ced6",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def events_over_time(db: duckdb.DuckDBPyConnection, info: DatasetInfo) -> str:
    """Timed events per step of time, with the two cuts of the split."""
    first, last = info.first_event_at.timestamp(), info.last_event_at.timestamp()
    width = max((last - first) / NUM_BARS, 1e-6)
    rows = db.execute(
        "SELECT least(floor((epoch(timestamp) - $1) / $2), $3) AS bar, count(*) AS num "
        "FROM interactions WHERE timed GROUP BY bar ORDER BY bar",
        [first, width, NUM_BARS - 1],
    ).fetchall()
    figure, axes = _figure(9.2, 2.5)
    starts = [(first + bar * width) / DAY_S for bar, _ in rows]  # matplotlib counts days
    axes.bar(starts, [num for _, num in rows], width=width / DAY_S, align="edge", color=SOFT)
    axes.xaxis_date(tz="UTC")
    cuts = {"validation from": info.train_end_at, "test from": info.validation_end_at}
    for height, (name, at) in zip((1.0, 0.9), cuts.items(), strict=True):
        day = at.timestamp() / DAY_S
        axes.axvline(day, color=CUT, linewidth=1.2)
        axes.annotate(
            f"{name} ",
            (day, height),
            xycoords=("data", "axes fraction"),
            color=CUT,
            va="top",
            ha="right",
        )
    axes.set_ylabel("events")
    return _svg(figure)


def events_per_user(db: duckdb.DuckDBPyConnection) -> str:
    """How many users have how many events, in steps of doubling."""
    rows = db.execute("""
        SELECT floor(log2(num)) AS step, count(*) FROM
            (SELECT count(*) AS num FROM interactions GROUP BY user_id)
        GROUP BY step ORDER BY step""").fetchall()
    figure, axes = _figure(4.4, 2.5)
    steps = [int(step) for step, _ in rows]
    axes.bar(steps, [num for _, num in rows], width=0.9, color=ACCENT)
    axes.set_xticks(steps, [f"{2**step:,}" for step in steps], rotation=45)
    axes.set_xlabel("events, from")
    axes.set_ylabel("users")
    return _svg(figure)


def popularity(db: duckdb.DuckDBPyConnection, head_share: float) -> str:
    """Share of take-ups that the most popular items gather."""
    found = db.execute("""
        SELECT num FROM (SELECT count(*) AS num FROM interactions WHERE is_positive
            GROUP BY item_id) ORDER BY num DESC""").fetchnumpy()
    counts = np.asarray(found["num"])
    (num_items,) = db.execute("SELECT count(*) FROM items").fetchone() or (len(counts),)
    share = np.concatenate([[0.0], np.cumsum(counts) / max(1, counts.sum())])
    places = np.arange(len(share)) / max(1, num_items)
    shown = np.unique(np.linspace(0, len(share) - 1, 200).astype(int))
    figure, axes = _figure(4.4, 2.5)
    axes.plot([*places[shown], 1.0], [*share[shown], 1.0], color=ACCENT)
    axes.axvline(head_share, color=CUT, linewidth=1, linestyle=":")
    axes.set_xlabel("items, most popular first")
    axes.set_ylabel("share of take-ups")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    written = io.StringIO()
    with rc_context(SETTINGS):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
