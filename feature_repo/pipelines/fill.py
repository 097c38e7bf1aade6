"""Missing values and normalisation, by a policy that is asked for and stated in the data report.

Without one, nulls stay nulls: the encoder of the model knows how to treat them. A fill replaces the
nulls of a column and adds `<column>_missing`; a normalisation adds `<column>_normalised` and leaves
the column, which filters and explanations read. Both learn from the training period only, by `fit`,
and are then applied to all rows, by `apply`. `categories` is not touched by a fill of `category`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from feature_repo.pipelines.judge import sql_text
from feature_repo.pipelines.tables import DataError, table_path, write_table_atomic

FillMethod = Literal["constant", "mean", "median", "most_frequent"]
NormaliseMethod = Literal["minmax", "zscore", "log", "quantile"]

NUMBERS = {"price": "items", "value": "interactions"}
TEXTS = {"description": "items", "category": "items", "creator": "items"}
TRAINING_ROWS = {
    "items": "available_at < {train_end}",
    "interactions": "timed AND timestamp < {train_end}",
}
NUM_QUANTILES = 101


class Fill(BaseModel):
    """A fitted fill: what stands in for a null."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    method: FillMethod
    value: float | str

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the column filled and `<column>_missing` (true where it was null)."""
        index = batch.schema.get_field_index(self.column)
        column = batch.column(index)
        filled = column.fill_null(pa.scalar(self.value, column.type))
        return batch.set_column(index, self.column, filled).append_column(
            f"{self.column}_missing", column.is_null()
        )

    def text(self) -> str:
        return f"{self.column}: missing values become {self.value!r} ({self.method})"


class Normaliser(BaseModel):
    """A fitted normalisation; `parameters` are (low, high), (mean, deviation) or quantiles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    method: NormaliseMethod
    parameters: tuple[float, ...]

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with `<column>_normalised`; nulls stay null."""
        column = batch.column(batch.schema.get_field_index(self.column))
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        scaled = pa.array(self.scale(values), pa.float64(), mask=np.asarray(pc.is_null(column)))
        return batch.append_column(f"{self.column}_normalised", scaled)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Normalised values of the same shape. What was not seen in training may leave the range.

        >>> Normaliser(column="price", method="minmax", parameters=(10, 20)).scale(np.array([15.0]))
        array([0.5])
        """
        if self.method == "log":
            return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
        if self.method == "quantile":
            places = np.linspace(0, 1, len(self.parameters))
            return np.asarray(np.interp(values, self.parameters, places))
        start, other = self.parameters
        width = other - start if self.method == "minmax" else other
        return np.asarray((values - start) / width if width else np.zeros_like(values))

    def text(self) -> str:
        shown = ", ".join(f"{parameter:.6g}" for parameter in self.parameters[:2])
        return f"{self.column}: {self.column}_normalised by {self.method}" + (
            f" ({shown})" if self.method in {"minmax", "zscore"} else ""
        )


Policy = Fill | Normaliser


class Request(BaseModel):
    """One unfitted policy, as on the command line: `price=median`, `category=constant:unknown`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    method: FillMethod | NormaliseMethod
    constant: str | None = None

    @property
    def table(self) -> str:
        return (NUMBERS | TEXTS)[self.column]


def parse_requests(text: str, option: Literal["--fill", "--normalise"]) -> list[Request]:
    """The policies in a comma-separated option; `DataError` names what it does not know.

    >>> [request.method for request in parse_requests("price=median,value=mean", "--fill")]
    ['median', 'mean']
    """
    return [_parse(part.strip(), option) for part in text.split(",") if part.strip()]


def _parse(part: str, option: str) -> Request:
    column, _, rest = part.partition("=")
    method, _, constant = rest.partition(":")
    methods = get_args(FillMethod if option == "--fill" else NormaliseMethod)
    columns = NUMBERS | TEXTS if option == "--fill" else NUMBERS
    if column not in columns:
        raise DataError(f"{option} {part}: no column {column!r} (has: {', '.join(columns)})")
    if method not in methods:
        raise DataError(f"{option} {part}: no method {method!r} (has: {', '.join(methods)})")
    if (method == "constant") != bool(constant):
        raise DataError(f"{option} {part}: write a constant as {column}=constant:VALUE")
    if method in {"mean", "median"} and column in TEXTS:
        raise DataError(f"{option} {part}: {column} is text; use most_frequent or constant")
    return Request.model_validate(
        {"column": column, "method": method, "constant": constant or None}
    )


def apply_policies(
    db: duckdb.DuckDBPyConnection,
    data_dir: Path,
    requests: Sequence[Request],
    train_end_at: datetime,
) -> list[Policy]:
    """Fit the policies on rows before `train_end_at` and rewrite the tables; fills come first."""
    policies: list[Policy] = []
    for request in sorted(
        requests, key=lambda request: request.method in get_args(NormaliseMethod)
    ):
        policy = fit(db, data_dir, request, train_end_at)
        path = table_path(data_dir, request.table)
        write_table_atomic(_applied(path, policy), path)
        policies.append(policy)
    return policies


def fit(
    db: duckdb.DuckDBPyConnection, data_dir: Path, request: Request, train_end_at: datetime
) -> Policy:
    """Learn a policy from the training period; `DataError` if the column is empty there."""
    column, method = request.column, request.method
    rows = TRAINING_ROWS[request.table].format(
        train_end=f"TIMESTAMPTZ '{train_end_at.isoformat()}'"
    )
    source = f"read_parquet({sql_text(table_path(data_dir, request.table))})"
    where = f"FROM {source} WHERE {rows} AND {column} IS NOT NULL"
    if method == "constant":
        return Fill(column=column, method=method, value=_constant(request))
    if method == "log":
        return Normaliser(column=column, method=method, parameters=())
    found = db.execute(f"SELECT {_statistic(column, method, where)}").fetchone()
    if found is None or found[0] is None:
        raise DataError(f"{column}={method}: no {column} is known in the training period")
    if method == "mean" or method == "median" or method == "most_frequent":
        return Fill(column=column, method=method, value=found[0])
    return Normaliser(column=column, method=method, parameters=tuple(found[0]))


def _statistic(column: str, method: str, where: str) -> str:
    if method == "most_frequent":  # of equally frequent values the smallest
        inner = f"SELECT {column} {where} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        return f"({inner})"
    places = [place / (NUM_QUANTILES - 1) for place in range(NUM_QUANTILES)]
    known = "CASE WHEN count(*) > 0 THEN"
    return {
        "mean": f"avg({column})",
        "median": f"quantile_cont({column}, 0.5)",
        "minmax": f"{known} [min({column}), max({column})] END",
        "zscore": f"{known} [avg({column}), stddev_pop({column})] END",
        "quantile": f"quantile_cont({column}, {places})",
    }[method] + f" {where}"


def _constant(request: Request) -> float | str:
    assert request.constant is not None
    if request.column in TEXTS:
        return request.constant
    try:
        return float(request.constant)
    except ValueError as error:
        raise DataError(f"{request.column} is a number; got {request.constant!r}") from error


def _applied(path: Path, policy: Policy) -> pa.RecordBatchReader:
    with pq.ParquetFile(path) as file:
        schema = policy.apply(pa.RecordBatch.from_pylist([], file.schema_arrow)).schema
    return pa.RecordBatchReader.from_batches(schema, _applied_batches(path, policy))


def _applied_batches(path: Path, policy: Policy) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield policy.apply(batch)
