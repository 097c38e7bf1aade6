"""One evaluation as a page to read, a file to compute with, and a table for the terminal.

In: an EvaluationResult, what the training job adds, and where it was measured what each source is
worth. Out: report.html, which needs no other file, and metrics.json, from which the page can be
drawn again. Measures nothing itself.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict

from feature_repo.pipelines.tables import write_text_atomic
from training import plots
from training.bootstrap import Interval
from training.classification import Figures
from training.evaluate import REFERENCE, EvaluationResult, Metrics
from training.valuation import EVERYBODY, FUSED, Worth
from training.verdict import Verdict, judge

TABLE_METRICS = ("ndcg@10", "recall@10", "precision@10", "mrr@10", "hit_rate@10", "map@10")
BEYOND = ("coverage@10", "novelty@10", "diversity@10")
LABELS = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "hit_rate": "Hit rate"}


class ReportExtra(BaseModel):
    """What a training job knows beyond the ranking figures; every part may be absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str = "Evaluation"
    fused: str | None = None
    """Name of the model that the report is about; without it the page compares baselines only."""
    classification: Figures = {}
    """What `training.classification.classify` returned."""
    training_curves: dict[str, dict[str, list[float]]] = {}
    """Chart label -> line -> one figure an epoch."""
    contributions: dict[str, float] = {}
    """Source -> mean absolute Shapley value; shown as shares of their sum."""
    facts: dict[str, str | int | float] = {}
    """More facts about data and run."""
    settings: dict[str, str | int | float | bool | None] = {}
    """The resolved configuration, flat."""
    notes: list[str] = []
    """What a reader of the figures should know, such as the data set's notes."""


def write_report(
    run_dir: Path,
    result: EvaluationResult,
    extra: ReportExtra | None = None,
    worth: Worth | None = None,
) -> Path:
    """Write metrics.json and report.html into the run's folder; returns the path of the page."""
    extra = extra or ReportExtra()
    verdict = judge(result, extra.fused) if extra.fused else None
    metrics = json.dumps(metrics_document(result, extra, verdict), indent=2, allow_nan=False)
    write_text_atomic(metrics + "\n", run_dir / "metrics.json")
    page = run_dir / "report.html"
    write_text_atomic(render(result, extra, verdict, worth), page)
    return page


def read_report(run_dir: Path) -> tuple[EvaluationResult, ReportExtra]:
    """What `write_report` was given, from metrics.json; ValueError for a folder without a run."""
    path = run_dir / "metrics.json"
    if not path.is_file():
        raise ValueError(f"{run_dir} holds no finished run (no {path.name}); give --run runs/NAME")
    document = json.loads(path.read_text(encoding="utf-8"))
    if "report" not in document:
        raise ValueError(f"{path} was written by an older version; run `training.train` again")
    measured = {name: document[name] for name in EvaluationResult.model_fields}
    return EvaluationResult.model_validate(measured), ReportExtra.model_validate(document["report"])


def metrics_document(
    result: EvaluationResult, extra: ReportExtra, verdict: Verdict | None
) -> dict[str, Any]:
    """What metrics.json holds."""
    return {
        **result.model_dump(),
        "classification": extra.classification,
        "contributions": shares(extra.contributions),
        "verdict": verdict.model_dump() if verdict else None,
        "report": extra.model_dump(),
    }


def metric_table(result: EvaluationResult) -> str:
    """The models as aligned text, best NDCG@10 first, ablations below; intervals in brackets."""
    head = ["model", "NDCG@10 [95 %]", "Recall@10 [95 %]", "MRR@10", "Hit@10", "Cover@10", "s"]
    rows = [head, *(table_row(result, name, own) for name, own in ranked(result.models))]
    rows += [table_row(result, name, own) for name, own in ranked(result.ablations)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    split = result.split
    about = (
        f"{split['queries']} queries of {split['users']} users in the {split['period']} period, "
        f"{split['items']} items ranked in full"
    )
    return "\n".join(
        [about, lines[0].rstrip(), "-" * len(lines[0]), *(x.rstrip() for x in lines[1:])]
    )


def table_row(result: EvaluationResult, name: str, own: Metrics) -> list[str]:
    return [
        name,
        str(own["ndcg@10"]),
        str(own["recall@10"]),
        f"{own['mrr@10'].mean:.4f}",
        f"{own['hit_rate@10'].mean:.4f}",
        f"{own['coverage@10'].mean:.4f}",
        f"{result.seconds[name]:.1f}",
    ]


def ranked(models: Mapping[str, Metrics]) -> list[tuple[str, Metrics]]:
    """Best NDCG@10 first."""
    return sorted(models.items(), key=lambda pair: -pair[1]["ndcg@10"].mean)


def render(
    result: EvaluationResult,
    extra: ReportExtra,
    verdict: Verdict | None,
    worth: Worth | None = None,
) -> str:
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"label": label, "figure": figure_text}
    return environment.get_template("report.html").render(
        result=result,
        extra=extra,
        verdict=verdict,
        models=ranked(result.models),
        reference=REFERENCE,
        metrics=[metric for metric in TABLE_METRICS if metric in columns(result)],
        beyond=[metric for metric in BEYOND if metric in columns(result)],
        all_metrics=columns(result),
        best=best_models(result),
        worth=worth,
        pictures=pictures(result, extra) | (worth_pictures(worth) if worth else {}),
        contributions=shares(extra.contributions),
    )


def columns(result: EvaluationResult) -> list[str]:
    return list(next(iter(result.models.values()), {}))


def best_models(result: EvaluationResult) -> dict[str, str]:
    """Metric -> the model with the greatest figure."""
    return {
        metric: max(result.models, key=lambda name: result.models[name][metric].mean)
        for metric in columns(result)
    }


def pictures(result: EvaluationResult, extra: ReportExtra) -> dict[str, str]:
    """Every picture that there are figures for, by name."""
    drawn = {
        "models": plots.bars(only("ndcg@10", result.models), extra.fused, "NDCG@10"),
        "slices": plots.dots(
            {
                f"{name}\n{part.users} users": only("ndcg@10", shown(part.models, result))
                for name, part in result.slices.items()
                if part.models
            },
            extra.fused,
            "NDCG@10",
        ),
    }
    if REFERENCE in result.differences:
        ahead = {
            name: own
            for name, own in result.differences[REFERENCE].items()
            if name not in result.ablations
        }
        if ahead:
            drawn["gaps"] = plots.gaps(only("ndcg@10", ahead), f"NDCG@10 above {REFERENCE}")
    if result.ablations and extra.fused in result.differences:
        lost = {name: result.differences[str(extra.fused)][name] for name in result.ablations}
        drawn["ablations"] = plots.gaps(only("ndcg@10", lost), f"NDCG@10 against {extra.fused}")
    if extra.contributions:
        whole = {name: Interval(mean=share) for name, share in shares(extra.contributions).items()}
        drawn["contributions"] = plots.bars(whole, None, "share of the mean absolute Shapley value")
    if extra.classification:
        drawn["reliability"] = plots.reliability_curve(
            *(extra.classification[f"reliability_{part}"] for part in ("mean", "share", "num"))  # type: ignore[arg-type]
        )
    for number, (name, curves) in enumerate(extra.training_curves.items()):
        drawn[f"curves {number}"] = plots.lines(curves, name)
    return drawn


def worth_pictures(worth: Worth) -> dict[str, str]:
    """The pictures about what each source is worth."""
    everybody = worth.parts[EVERYBODY]
    without = {n: own for n, own in everybody.ahead.items() if n.startswith("without ")}
    compared = [FUSED, REFERENCE, *(f"without {source}" for source in worth.sources)]
    return {
        "shapley": plots.gaps(everybody.shapley, f"{worth.metric} that the source adds (Shapley)"),
        "without": plots.gaps(without, f"{worth.metric} that is lost"),
        "missing": plots.curves(
            {
                source: {100 * gap.missing: gap.figure for gap in gaps}
                for source, gaps in worth.robustness.items()
            },
            "rows of the source that are missing, %",
            worth.metric,
        ),
        "cold": plots.dots(
            {
                f"{name}\n{part.users} users": {n: part.figures[n] for n in compared}
                for name, part in worth.parts.items()
                if part.figures
            },
            FUSED,
            worth.metric,
        ),
    }


def shown(models: Mapping[str, Metrics], result: EvaluationResult) -> dict[str, Metrics]:
    """Without the ablations, which would crowd a picture."""
    return {name: own for name, own in models.items() if name not in result.ablations}


def only(metric: str, models: Mapping[str, Metrics]) -> dict[str, Interval]:
    return {name: own[metric] for name, own in models.items()}


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each part of the whole."""
    whole = sum(parts.values()) or 1.0
    return {name: part / whole for name, part in parts.items()}


def label(metric: str) -> str:
    """
    >>> label("hit_rate@10"), label("recall@5")
    ('Hit rate@10', 'Recall@5')
    """
    name, at, k = metric.partition("@")
    return LABELS.get(name, name.replace("_", " ").capitalize()) + at + k


def figure_text(value: object) -> str:
    """A figure for people: thousands separated, four digits after the point, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4f}"
    return str(value)
