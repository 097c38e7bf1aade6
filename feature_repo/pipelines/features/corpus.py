"""Which texts there are, and which item or user they speak for from when on, as DuckDB relations.

Comes after `engine.connect`; leaves a Parquet file of distinct, analysed texts and two views,
`item_mentions` and `user_mentions`, that point into it. Knows nothing of vectors.
"""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.pipelines.features.keywords import terms_of
from feature_repo.pipelines.features.sentiment import sentiment_of
from feature_repo.pipelines.tables import table_path

OWN_TEXT_KINDS = ("title", "description")
"""Documents that are the item's own text, not what somebody says about it."""

BATCH_ROWS = 16_384

TEXTS_SCHEMA = pa.schema(
    [
        ("text_key", pa.uint64()),  # what a mention points at
        ("text_hash", pa.uint64()),  # what the embedding cache knows it by
        ("text", pa.string()),
        ("terms", pa.list_(pa.string())),
        ("sentiment", pa.float32()),  # null: the text has no say
        ("first_us", pa.int64()),  # the first instant at which anybody could read it
    ]
)

# An item's own text. A title that is only the id stands for a missing one (see clean.py) and says
# nothing. Categories and creator are kept apart as well, for each is one keyword as it stands.
_OWN_TEXTS = """
    CREATE OR REPLACE TEMP VIEW own_texts AS
    SELECT *, concat_ws('. ', title, nullif(array_to_string(topics, ', '), ''), creator,
                        description) AS text,
           list_concat(topics, list_filter([creator], lambda x: x IS NOT NULL)) AS phrases,
           list_filter([title, description], lambda x: x IS NOT NULL) AS prose
    FROM (
        SELECT item_id, epoch_us(available_at) AS happened_us,
               nullif(nullif(trim(title), item_id), '') AS title,
               nullif(trim(description), '') AS description,
               nullif(trim(creator), '') AS creator,
               list_filter(
                   CASE WHEN list_contains(categories, category) THEN categories
                        ELSE list_concat([category], categories) END,
                   lambda x: trim(x) <> '') AS topics
        FROM read_parquet('{items}'))
    WHERE text <> ''
"""
_SAID = """
    CREATE OR REPLACE TEMP VIEW said AS
    SELECT document_id, user_id, item_id, kind = 'tag' AS is_tag, kind IN {own} AS is_own,
           epoch_us(timestamp) AS happened_us, trim(text, E' \\t\\r\\n') AS text,
           md5_number_lower(concat_ws(chr(31), CASE WHEN kind = 'tag' THEN 'tag' ELSE 'prose' END,
                                      trim(text, E' \\t\\r\\n'))) AS text_key
    FROM read_parquet('{documents}') WHERE trim(text, E' \\t\\r\\n') <> ''
"""
_OWN_KEY = """md5_number_lower(concat_ws(chr(31), 'item', text, array_to_string(phrases, chr(30)),
                                         array_to_string(prose, chr(30))))"""
_DISTINCT = f"""
    SELECT text_key, md5_number_lower(any_value(text)) AS text_hash, any_value(text) AS text,
           any_value(phrases) AS phrases, any_value(prose) AS prose, any_value(is_tag) AS is_tag,
           min(happened_us) AS first_us
    FROM (
        SELECT {_OWN_KEY} AS text_key, text, phrases, prose, false AS is_tag, happened_us
        FROM own_texts
        UNION ALL
        SELECT text_key, text, CASE WHEN is_tag THEN [text] ELSE [] END,
               CASE WHEN is_tag THEN [] ELSE [text] END, is_tag, happened_us FROM said)
    GROUP BY text_key ORDER BY text_key
"""
# A document counts from the first grid instant after it, so a row at G holds what was said
# strictly before G. The item's own text counts from the instant it can be seen.
_NEXT_GRID = "happened_us - ((happened_us % {grid}) + {grid}) % {grid} + {grid}"
_ITEM_MENTIONS = f"""
    CREATE OR REPLACE TEMP VIEW item_mentions AS
    SELECT item_id AS key, happened_us AS counts_us, happened_us, '' AS document_id, true AS is_own,
           {_OWN_KEY} AS text_key FROM own_texts
    UNION ALL
    SELECT item_id, {_NEXT_GRID}, happened_us, document_id, is_own, text_key
    FROM said WHERE item_id IS NOT NULL
"""
_USER_MENTIONS = f"""
    CREATE OR REPLACE TEMP VIEW user_mentions AS
    SELECT user_id AS key, {_NEXT_GRID} AS counts_us, happened_us, document_id, false AS is_own,
           text_key
    FROM said WHERE user_id IS NOT NULL
"""
# Who a term belongs to when its document frequency is counted: the item, else the writer.
_TRAIN_TERMS = """
    CREATE OR REPLACE TEMP VIEW train_terms AS
    SELECT m.owner, t.terms
    FROM (SELECT 'item ' || key AS owner, text_key, happened_us FROM item_mentions
          UNION ALL
          SELECT 'user ' || user_id, text_key, happened_us FROM said
          WHERE item_id IS NULL AND user_id IS NOT NULL) m
    JOIN texts t USING (text_key) WHERE m.happened_us < {train_end_us}
"""


def analyse_corpus(
    connection: duckdb.DuckDBPyConnection,
    data_dir: Path,
    texts_path: Path,
    grid_days: int,
    train_end_us: int,
) -> int:
    """Write each distinct text with its terms and sentiment to `texts_path`; return how many.

    Afterwards the connection has the views `texts`, `item_mentions` and `user_mentions` (key,
    counts_us, happened_us, document_id, is_own, text_key), and `train_terms` (owner, terms) of what
    happened before `train_end_us`.
    """
    grid_us = grid_days * 86_400_000_000
    connection.execute(_OWN_TEXTS.format(items=_quoted(table_path(data_dir, "items"))))
    connection.execute(
        _SAID.format(documents=_quoted(table_path(data_dir, "documents")), own=OWN_TEXT_KINDS)
    )
    num_texts = _write_texts(connection, texts_path)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW texts AS FROM read_parquet('{_quoted(texts_path)}')"
    )
    connection.execute(_ITEM_MENTIONS.format(grid=grid_us))
    connection.execute(_USER_MENTIONS.format(grid=grid_us))
    connection.execute(_TRAIN_TERMS.format(train_end_us=train_end_us))
    return num_texts


def item_texts(connection: duckdb.DuckDBPyConnection, data_dir: Path) -> dict[str, str]:
    """By item id the item's own text: title, categories, creator and description."""
    connection.execute(_OWN_TEXTS.format(items=_quoted(table_path(data_dir, "items"))))
    return dict(connection.execute("SELECT item_id, text FROM own_texts").fetchall())


def _write_texts(connection: duckdb.DuckDBPyConnection, texts_path: Path) -> int:
    num_texts = 0
    with pq.ParquetWriter(texts_path, TEXTS_SCHEMA, compression="zstd") as writer:
        for batch in connection.execute(_DISTINCT).to_arrow_reader(BATCH_ROWS):
            writer.write_batch(_analysed(batch))
            num_texts += batch.num_rows
    return num_texts


def _analysed(batch: pa.RecordBatch) -> pa.RecordBatch:
    rows = batch.select(["text", "phrases", "prose", "is_tag"]).to_pylist()
    terms = [terms_of(row["phrases"], row["prose"]) for row in rows]
    sentiment = [sentiment_of(row["text"], row["is_tag"]) for row in rows]
    columns = {
        "terms": pa.array(terms, pa.list_(pa.string())),
        "sentiment": pa.array(sentiment, pa.float32()),
    }
    return pa.RecordBatch.from_arrays(
        [columns[name] if name in columns else batch.column(name) for name in TEXTS_SCHEMA.names],
        schema=TEXTS_SCHEMA,
    )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
