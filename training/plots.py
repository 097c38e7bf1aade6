"""The report's pictures, each as a data URI of an SVG that needs nothing else.

In: figures with their intervals. Out: text for the `src` of an <img>. Drawn with matplotlib's
Figure objects alone, so that no global state or display is touched; the same figures give the same
bytes.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.bootstrap import Interval

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
ACCENT = "#c2410c"
# Distinct for colour-blind readers too (Okabe and Ito 2008), the accent kept for the fused model.
OTHERS = ("#9fb3c8", "#627d98", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#b08900")
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "ytick.left": False,
    "grid.color": GRID,
    "svg.hashsalt": "potluck",
}


def colours(names: Sequence[str], accent: str | None) -> dict[str, str]:
    """A colour a model: the accent for the one the report is about."""
    rest = [name for name in names if name != accent]
    shades = {name: OTHERS[n % len(OTHERS)] for n, name in enumerate(rest)}
    return shades | ({accent: ACCENT} if accent is not None else {})


def bars(intervals: Mapping[str, Interval], accent: str | None, label: str) -> str:
    """One bar a model with its interval, greatest at the top."""
    order = sorted(intervals, key=lambda name: intervals[name].mean)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(order)))
        axes = figure.subplots()
        for place, name in enumerate(order):
            it = intervals[name]
            axes.barh(place, it.mean, height=0.6, color=ACCENT if name == accent else OTHERS[0])
            whisker(axes, it, place, INK)
            edge = it.high if it.high is not None else it.mean
            axes.annotate(
                f"{it.mean:.4f}",
                (edge, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                weight="bold" if name == accent else "normal",
            )
        axes.set_yticks(range(len(order)), order)
        axes.margins(x=0.14)
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        return uri(figure)


def dots(groups: Mapping[str, Mapping[str, Interval]], accent: str | None, label: str) -> str:
    """A row a group (a slice), a dot and interval a model, and one legend above all."""
    names = list(dict.fromkeys(name for models in groups.values() for name in models))
    shade = colours(names, accent)
    step = 0.7 / max(len(names), 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + len(groups) * (0.25 + 0.14 * len(names))))
        axes = figure.subplots()
        for row, models in enumerate(groups.values()):
            for number, name in enumerate(names):
                if name in models:
                    place = row + (number - (len(names) - 1) / 2) * step
                    whisker(axes, models[name], place, shade[name])
                    axes.plot(models[name].mean, place, "o", ms=5, color=shade[name])
            if row % 2 == 0:
                axes.axhspan(row - 0.5, row + 0.5, color="#f5f7fa", zorder=0)
        for name in names:
            axes.plot([], [], "o", ms=5, color=shade[name], label=name)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(len(names), 4), frameon=False
        )
        return uri(figure)


def gaps(differences: Mapping[str, Interval], label: str) -> str:
    """Paired differences against a reference, which is the line at zero."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(differences)))
        axes = figure.subplots()
        for place, it in enumerate(differences.values()):
            clear = it.low is not None and it.high is not None and (it.low > 0 or it.high < 0)
            shade = ACCENT if clear else MUTED
            whisker(axes, it, place, shade)
            axes.plot(it.mean, place, "o", ms=6, color=shade)
        axes.axvline(0, color=INK, lw=1)
        axes.set_yticks(range(len(differences)), list(differences))
        axes.set_ylim(len(differences) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        return uri(figure)


def reliability_curve(
    mean: Sequence[float | None], share: Sequence[float | None], num: Sequence[int]
) -> str:
    """Share of positives against predicted probability; below it how many pairs each bin holds."""
    filled = [place for place, pairs in enumerate(num) if pairs]
    width = 1.0 / max(len(num), 1)
    with mpl.rc_context({**STYLE, "ytick.color": MUTED}):
        figure = Figure(figsize=(4.6, 4.8))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        upper.plot([0, 1], [0, 1], "--", color=MUTED, lw=1)
        upper.plot([mean[p] for p in filled], [share[p] for p in filled], "o-", color=ACCENT, ms=5)
        upper.set(ylabel="share that were positive", xlim=(0, 1), ylim=(0, 1))
        upper.grid()
        lower.bar((np.arange(len(num)) + 0.5) * width, num, width=width * 0.9, color=OTHERS[0])
        lower.set(xlabel="predicted probability", ylabel="pairs")
        return uri(figure)


def lines(curves: Mapping[str, Sequence[float]], label: str) -> str:
    """Training curves: one line a figure over the epochs, from 1."""
    with mpl.rc_context({**STYLE, "ytick.color": MUTED}):
        figure = Figure(figsize=(7.2, 2.8))
        axes = figure.subplots()
        shade = colours(list(curves), next(iter(curves), None))
        for name, values in curves.items():
            axes.plot(range(1, len(values) + 1), values, "o-", ms=3, color=shade[name], label=name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        if len(curves) > 1:
            axes.legend(frameon=False)
        return uri(figure)


def curves(points: Mapping[str, Mapping[float, Interval]], across: str, label: str) -> str:
    """One line a name through its points, with the interval of each as a band."""
    with mpl.rc_context({**STYLE, "ytick.color": MUTED}):
        figure = Figure(figsize=(7.2, 3.4))
        axes = figure.subplots()
        shade = colours(list(points), None)
        for name, line in points.items():
            x, means = list(line), [it.mean for it in line.values()]
            axes.plot(x, means, "o-", ms=4, color=shade[name], label=name)
            low = [it.mean if it.low is None else it.low for it in line.values()]
            high = [it.mean if it.high is None else it.high for it in line.values()]
            axes.fill_between(x, low, high, color=shade[name], alpha=0.12, lw=0)
        axes.set(xlabel=across, ylabel=label)
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.legend(frameon=False)
        return uri(figure)


def whisker(axes: Any, interval: Interval, place: float, colour: str) -> None:
    """The interval as a thin line; nothing where there is none."""
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [place, place], color=colour, lw=1.4)


def uri(figure: Figure) -> str:
    """The figure as the data URI of an SVG whose letters are drawn, so no font is needed."""
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(picture.getvalue()).decode()
