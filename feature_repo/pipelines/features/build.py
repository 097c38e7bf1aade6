"""Canonical tables in, feature tables out: every view of a data set, written one after the other.

Views whose source has no rows are written empty, in their schema, so that nothing downstream needs
to ask.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import duckdb
import pyarrow as pa
from tqdm import tqdm

from feature_repo.pipelines.features.affinity import user_affinity
from feature_repo.pipelines.features.behaviour import user_activity, user_history
from feature_repo.pipelines.features.engine import Partition, connect
from feature_repo.pipelines.features.graph import user_graph
from feature_repo.pipelines.features.item import item_attributes, item_popularity
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.schemas import SCHEMAS
from feature_repo.pipelines.features.social import user_social
from feature_repo.pipelines.tables import feature_path, write_table_atomic

ViewFunction = Callable[[duckdb.DuckDBPyConnection, Partition], Iterator[pa.Table]]


def build_features(data_dir: Path, options: FeatureOptions) -> None:
    """Write every feature view of the data set in `data_dir`, with a progress bar."""
    build_table_features(data_dir, options)
    # Looked up late: the text encoder imports torch, which no other view needs.
    text = import_module("feature_repo.pipelines.features.text")
    text.build_text_features(data_dir, options)


def view_functions(options: FeatureOptions) -> dict[str, ViewFunction]:
    """Each view's function of (connection, partition); a cluster maps them over partitions."""
    return {
        "user_activity": user_activity,
        "user_history": user_history,
        "user_affinity": user_affinity,
        "item_attributes": item_attributes,
        "item_popularity": item_popularity,
        "user_social": partial(user_social, grid_days=options.grid_days),
        "user_graph": partial(user_graph, seed=options.seed),
    }


def build_table_features(data_dir: Path, options: FeatureOptions) -> dict[str, tuple[int, float]]:
    """Write the behaviour, item and social views; return rows and seconds of each."""
    figures: dict[str, tuple[int, float]] = {}
    with connect(data_dir, options) as connection:
        bar = tqdm(view_functions(options).items(), desc="features", unit="view")
        for view, rows_of in bar:
            bar.set_postfix_str(view)
            began = time.perf_counter()
            tables = rows_of(connection, None)
            num_rows = write_table_atomic(_reader(view, tables), feature_path(data_dir, view))
            figures[view] = (num_rows, time.perf_counter() - began)
    return figures


def _reader(view: str, tables: Iterator[pa.Table]) -> pa.RecordBatchReader:
    batches = (batch for table in tables for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(SCHEMAS[view], batches)
