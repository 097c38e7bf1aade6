"""The data report: what came in, what was set aside and why, and what the data is like.

`describe` computes the facts from the tables, `write_report` writes them as JSON and as one
self-contained HTML page, `summary_lines` says the same in a few lines for a terminal.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import duckdb
import jinja2
from pydantic import AwareDatetime, BaseModel, ConfigDict

from feature_repo.pipelines import report_plots
from feature_repo.pipelines.clean import TableCounts
from feature_repo.pipelines.judge import sql_text
from feature_repo.pipelines.tables import SCHEMAS, DatasetInfo, table_path, write_text_atomic

HEAD_SHARE = 0.2  # the most popular fifth of the items is the head, the rest the long tail
QUANTILES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "three quarters": 0.75, "most": 1.0}


class ActionFacts(BaseModel):
    """One kind of event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num: int
    num_take_ups: int
    num_untimed: int
    first_at: AwareDatetime | None
    """None where no event of this kind has a time."""
    last_at: AwareDatetime | None


class SplitFacts(BaseModel):
    """One part of the time split; take-ups are timed and positive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_events: int
    num_take_ups: int
    num_users: int
    num_items: int


class DataReport(BaseModel):
    """Everything in the data report; `data_report.json` is this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    info: DatasetInfo
    counts: dict[str, TableCounts]
    missing: dict[str, dict[str, int]]
    """Nulls left per table and column; columns without any are not listed."""
    actions: dict[str, ActionFacts]
    links: dict[str, int]
    """Friend and follow links by kind, a friendship counting twice."""
    texts: dict[str, int]
    """Documents by kind."""
    density: float
    """Distinct (user, item) pairs over users times items."""
    long_tail_share: float
    """Share of take-ups that fall on items outside the most popular 20 %."""
    events_per_user: dict[str, float]
    events_per_item: dict[str, float]
    splits: dict[str, SplitFacts]
    policies: list[str]
    """What was done about missing values, and normalisations."""


def describe(
    db: duckdb.DuckDBPyConnection,
    data_dir: Path,
    info: DatasetInfo,
    counts: Mapping[str, TableCounts],
    policies: Sequence[str],
) -> DataReport:
    """Compute the facts about the tables of `data_dir`."""
    _create_views(db, data_dir)
    return DataReport(
        info=info,
        counts=dict(counts),
        missing={table: _missing(db, table) for table in SCHEMAS},
        actions=_actions(db),
        links=_count_by_kind(db, "edges"),
        texts=_count_by_kind(db, "documents"),
        density=_number(db, DENSITY_SQL),
        long_tail_share=_number(db, LONG_TAIL_SQL),
        events_per_user=_quantiles(db, "user_id"),
        events_per_item=_quantiles(db, "item_id"),
        splits=_splits(db, info),
        policies=[*DEFAULT_POLICIES, *policies],
    )


DEFAULT_POLICIES = [
    "title: an item without one is called by its id",
    "category: the first of the categories where none is primary",
    "available_at: the earliest of the source's value, the first timed event and the first "
    "document; an item never seen is there from the data set's first event",
    "valid_from: a link without a time holds from the beginning (1970-01-01)",
    "all other missing values stay missing unless --fill says otherwise",
]

DENSITY_SQL = """
    SELECT count(*) / greatest(1, (SELECT count(*) FROM users) * (SELECT count(*) FROM items))
    FROM (SELECT DISTINCT user_id, item_id FROM interactions)"""
LONG_TAIL_SQL = f"""
    SELECT coalesce(sum(num) FILTER (place > {HEAD_SHARE} * num_items) / sum(num), 0)
    FROM (SELECT count(*) AS num, row_number() OVER (ORDER BY count(*) DESC, item_id) AS place
          FROM interactions WHERE is_positive GROUP BY item_id),
         (SELECT count(*) AS num_items FROM items)"""


def write_report(db: duckdb.DuckDBPyConnection, data_dir: Path, report: DataReport) -> None:
    """Write `report/data_report.json` and `report/data_report.html`; needs `describe`'s views."""
    folder = data_dir / "report"
    write_text_atomic(report.model_dump_json(indent=2) + "\n", folder / "data_report.json")
    plots = {
        "time": report_plots.events_over_time(db, report.info),
        "users": report_plots.events_per_user(db),
        "tail": report_plots.popularity(db, HEAD_SHARE),
    }
    page = _template().render(report=report, plots=plots, head_share=HEAD_SHARE)
    write_text_atomic(page, folder / "data_report.html")


def summary_lines(report: DataReport) -> list[str]:
    """The report in a few lines of plain text."""
    info, splits = report.info, report.splits
    kept = {table: counts.kept for table, counts in report.counts.items()}
    rejected = [
        f"{num:,} {table}: {reason}"
        for table, counts in report.counts.items()
        for reason, num in (counts.rejected | counts.repaired).items()
    ]
    untimed = sum(facts.num_untimed for facts in report.actions.values())
    shares = ", ".join(f"{name} {facts.num_take_ups:,}" for name, facts in splits.items())
    return [
        f"data set    {info.name}: {info.source}",
        f"time        {info.first_event_at:%Y-%m-%d} to {info.last_event_at:%Y-%m-%d}, "
        f"resolution: {info.time_resolution}" + (f"; {untimed:,} events untimed" * bool(untimed)),
        "rows        " + ", ".join(f"{num:,} {table}" for table, num in kept.items()),
        "events      "
        + ", ".join(f"{facts.num:,} {name}" for name, facts in report.actions.items()),
        f"shape       density {report.density:.3%}, {report.long_tail_share:.0%} of take-ups in "
        f"the long tail, {report.events_per_user['median']:,.0f} events for the median user",
        f"take-ups    {shares}; cuts at {info.train_end_at:%Y-%m-%d %H:%M} and "
        f"{info.validation_end_at:%Y-%m-%d %H:%M} UTC",
        "set aside   " + ("; ".join(rejected) or "nothing"),
    ]


def _template() -> jinja2.Template:
    source = files("feature_repo.pipelines").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def _create_views(db: duckdb.DuckDBPyConnection, data_dir: Path) -> None:
    for table in SCHEMAS:
        path = sql_text(table_path(data_dir, table))
        db.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM read_parquet({path})")


def _missing(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    names = SCHEMAS[table].names
    nulls = ", ".join(f"count(*) FILTER ({name} IS NULL)" for name in names)
    row = db.execute(f"SELECT {nulls} FROM {table}").fetchone()
    assert row is not None
    return {name: num for name, num in zip(names, row, strict=True) if num}


def _actions(db: duckdb.DuckDBPyConnection) -> dict[str, ActionFacts]:
    rows = db.execute("""
        SELECT action, count(*) AS num, count(*) FILTER (is_positive), count(*) FILTER (NOT timed),
            strftime(min(timestamp) FILTER (timed), '%Y-%m-%dT%H:%M:%S.%fZ'),
            strftime(max(timestamp) FILTER (timed), '%Y-%m-%dT%H:%M:%S.%fZ')
        FROM interactions GROUP BY action ORDER BY num DESC, action""").fetchall()
    names = list(ActionFacts.model_fields)
    return {
        action: ActionFacts.model_validate(dict(zip(names, facts, strict=True)))
        for action, *facts in rows
    }


def _count_by_kind(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    rows = db.execute(
        f"SELECT kind, count(*) AS num FROM {table} GROUP BY kind ORDER BY num DESC, kind"
    )
    return dict(rows.fetchall())


def _number(db: duckdb.DuckDBPyConnection, query: str) -> float:
    row = db.execute(query).fetchone()
    assert row is not None
    return float(row[0])


def _quantiles(db: duckdb.DuckDBPyConnection, key: str) -> dict[str, float]:
    """Events per user or item that has any; cold ones would only say how long the catalogue is."""
    query = f"""SELECT quantile_disc(num, {list(QUANTILES.values())}), avg(num)
        FROM (SELECT count(*) AS num FROM interactions GROUP BY {key})"""
    row = db.execute(query).fetchone()
    assert row is not None
    return dict(zip(QUANTILES, map(float, row[0]), strict=True)) | {"mean": round(row[1], 3)}


def _splits(db: duckdb.DuckDBPyConnection, info: DatasetInfo) -> dict[str, SplitFacts]:
    cuts = [f"TIMESTAMPTZ '{at.isoformat()}'" for at in (info.train_end_at, info.validation_end_at)]
    rows = db.execute(f"""
        SELECT CASE WHEN timestamp < {cuts[0]} THEN 'train'
                    WHEN timestamp < {cuts[1]} THEN 'validation' ELSE 'test' END AS part,
            count(*), count(*) FILTER (is_positive), count(DISTINCT user_id),
            count(DISTINCT item_id)
        FROM interactions WHERE timed GROUP BY part""").fetchall()
    names = list(SplitFacts.model_fields)
    found = {part: dict(zip(names, facts, strict=True)) for part, *facts in rows}
    none = dict.fromkeys(names, 0)
    return {
        part: SplitFacts.model_validate(found.get(part, none))
        for part in ("train", "validation", "test")
    }
