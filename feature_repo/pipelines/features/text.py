"""Text features: what is said by and about an item, and what a user writes, as of each instant.

Comes from `items` and `documents`; gives `item_text.parquet` and `user_text.parquet`. Each
distinct text is embedded once, ever; rows are then running means, streamed in bounded memory.
"""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.pipelines.features.corpus import analyse_corpus
from feature_repo.pipelines.features.embed import embed_new_texts
from feature_repo.pipelines.features.embedding_cache import EmbeddingCache
from feature_repo.pipelines.features.encoder import HuggingFaceEncoder, TextEncoder
from feature_repo.pipelines.features.engine import connect
from feature_repo.pipelines.features.keywords import fit_weights
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.reduce import MAX_FIT_TEXTS, Reducer, fit_reducer
from feature_repo.pipelines.features.running_text import BATCH_ROWS, TextRows
from feature_repo.pipelines.tables import (
    INSTANT,
    DatasetInfo,
    feature_path,
    write_table_atomic,
    write_text_atomic,
)


def _schema(key: str, names: tuple[str, str, str, str]) -> pa.Schema:
    embedding, keywords, sentiment, num_documents = names
    return pa.schema(
        [
            (key, pa.string()),
            (embedding, pa.list_(pa.float32())),
            (keywords, pa.list_(pa.string())),
            (sentiment, pa.float32()),  # null: nothing said so far was for or against
            (num_documents, pa.int64()),
            ("event_timestamp", INSTANT),
            ("created_timestamp", INSTANT),
        ]
    )


SCHEMAS: dict[str, pa.Schema] = {
    "item_text": _schema("item_id", ("text_embedding", "keywords", "sentiment", "num_documents")),
    "user_text": _schema(
        "user_id", ("words_embedding", "own_keywords", "own_sentiment", "num_own_documents")
    ),
}
_MENTIONS = {"item_text": "item_mentions", "user_text": "user_mentions"}


@dataclass(frozen=True)
class TextReport:
    """What one build did, for the log."""

    num_texts: int
    """Distinct texts in the data."""
    num_embedded: int
    """Those that were not in the cache."""
    embed_seconds: float
    num_rows: dict[str, int]
    seconds: float


def build_text_features(
    data_dir: Path, options: FeatureOptions, encoder: TextEncoder | None = None
) -> TextReport:
    """Write `item_text` and `user_text`; `encoder` stands in for the configured one.

    A row at instant T holds an item's own text from `available_at` on and the documents before the
    grid instant T. PCA and keyword weights are fitted on texts from before `train_end_at`.
    DataError when `text_dims` cannot be filled.
    """
    started = time.perf_counter()
    encoder = encoder or HuggingFaceEncoder(
        options.encoder, batch_texts=options.batch_size, adapter=options.text_adapter
    )
    train_end_us = _microseconds(DatasetInfo.read(data_dir))
    with (
        connect(data_dir, options) as connection,
        tempfile.TemporaryDirectory(dir=data_dir, prefix=".text-") as work,
    ):
        texts_path = Path(work) / "texts.parquet"
        num_texts = analyse_corpus(
            connection, data_dir, texts_path, options.grid_days, train_end_us
        )
        cache = EmbeddingCache(
            data_dir / "cache" / "embeddings" / encoder.fingerprint, encoder.dims
        )
        embed_started = time.perf_counter()
        num_embedded = embed_new_texts(texts_path, cache, encoder, options)
        embed_seconds = time.perf_counter() - embed_started
        rows = TextRows(
            weights=fit_weights(connection, "train_terms"),
            cache=cache,
            reducer=_fit_reducer(connection, cache, options, train_end_us),
        )
        num_rows = {view: _write_view(connection, data_dir, view, rows) for view in SCHEMAS}
    _write_model(data_dir, options, encoder, rows.reducer)
    return TextReport(
        num_texts, num_embedded, embed_seconds, num_rows, time.perf_counter() - started
    )


def _write_view(
    connection: duckdb.DuckDBPyConnection, data_dir: Path, view: str, rows: TextRows
) -> int:
    schema = SCHEMAS[view]
    mentions = connection.execute(
        f"""
        SELECT m.key, m.counts_us, m.is_own, t.text_hash, t.terms, t.sentiment
        FROM {_MENTIONS[view]} m JOIN texts t USING (text_key)
        ORDER BY m.key, m.counts_us, m.document_id, m.text_key
        """
    ).to_arrow_reader(BATCH_ROWS)
    batches = (batch for table in rows.tables(mentions, schema) for batch in table.to_batches())
    return write_table_atomic(
        pa.RecordBatchReader.from_batches(schema, batches), feature_path(data_dir, view)
    )


def _fit_reducer(
    connection: duckdb.DuckDBPyConnection,
    cache: EmbeddingCache,
    options: FeatureOptions,
    train_end_us: int,
) -> Reducer | None:
    if options.text_dims is None:
        return None
    # The sample is by hash of seed and text: it does not move when later texts arrive.
    sample = connection.execute(
        f"""
        SELECT text_hash FROM texts WHERE first_us < {train_end_us} GROUP BY text_hash
        ORDER BY md5_number_lower(text_hash::VARCHAR || ' {options.seed}'), text_hash
        LIMIT {MAX_FIT_TEXTS}
        """
    ).fetchnumpy()
    hashes = np.asarray(sample["text_hash"], np.uint64)
    if not len(hashes) and connection.execute("SELECT count(*) FROM texts").fetchall() == [(0,)]:
        return None  # no text at all: the views are empty whatever their width
    return fit_reducer(cache.gather(hashes), options.text_dims)


def _write_model(
    data_dir: Path, options: FeatureOptions, encoder: TextEncoder, reducer: Reducer | None
) -> None:
    """`text_model/`: what it takes to embed a new text into the same space."""
    folder = data_dir / "text_model"
    if reducer is not None:
        reducer.write(folder / "pca.npz")
    model = {
        "pca": "pca.npz" if reducer else None,
        "encoder": options.encoder,
        "adapter": str(options.text_adapter) if options.text_adapter else None,
        "fingerprint": encoder.fingerprint,
        "dims": len(reducer.axes_KD) if reducer else encoder.dims,
        "explained_variance": reducer.explained if reducer else 1.0,
    }
    write_text_atomic(json.dumps(model, indent=2) + "\n", folder / "model.json")


def _microseconds(info: DatasetInfo) -> int:
    return round(info.train_end_at.timestamp() * 1_000_000)
