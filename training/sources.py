"""What is known beside who took up what: how strongly, friends, terms of items, vectors of titles.

In: the canonical tables and the events of a data set. Out: `Sources`, matrices by the numbers of
`Events`. Nothing in them comes from after the training period: not a play count, a tag or a link.
Each part is None where the data set has none, and a channel that lives on it is then left out.

Shapes: U users, I items, G terms, D width of a vector.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_repo.pipelines.features.embedding_cache import EmbeddingCache
from feature_repo.pipelines.features.encoder import TextEncoder
from training.baselines import training_matrix
from training.events import Events, existing_path, number_ids

Vectors = NDArray[np.float32]
Columns = dict[str, NDArray[Any]]
TEXTS_AT_ONCE = 2_048  # between two writes to the cache; some ten seconds on two cores


@dataclass(frozen=True)
class Sources:
    """Sources by the numbers of `Events`; None where there is no such source."""

    strength_UI: sp.csr_matrix | None = None
    """log(1 + value) of a training take-up over the user's mean of it, so that 1 is usual."""
    friends_UU: sp.csr_matrix | None = None
    """1 for a friendship or a follow link, either way; the diagonal is empty."""
    terms_IG: sp.csr_matrix | None = None
    """log(1 + how often) an item was given a tag, and 1 for each of its categories."""
    vectors_ID: Vectors | None = None
    """Embedded titles, unit length."""


def read_sources(data_dir: Path, events: Events, by_time: bool = True) -> Sources:
    """Strengths, friends and terms of a data set that has been built.

    `by_time` takes what is dated before the end of the training period. Without it, for a random
    split, what does not belong to a training pair (user, item) is left out: a tag that somebody
    gave to an item of the test part would give the item away. Links then are all known.
    """
    taken_UI = training_matrix(events)
    before = f"epoch_us({{}}) < {events.train_end_us}" if by_time else "true"
    with duckdb.connect() as connection:
        number_ids(connection, data_dir)
        strength = read_pairs(
            connection,
            f"SELECT user_id, item_id, sum(value) AS number FROM {table(data_dir, 'interactions')} "
            f"WHERE value IS NOT NULL AND timed = {by_time} AND {before.format('timestamp')} "
            "GROUP BY ALL",
            taken_UI.shape,
        )
        tags = read_tags(connection, data_dir, before.format("timestamp"))
        friends = read_friends(connection, data_dir, before.format("valid_from"), taken_UI.shape[0])
        categories = read_categories(connection, data_dir)
    if not by_time:
        tags = of_pairs(tags, taken_UI)
    return Sources(
        strength_UI=relative(strength.multiply(taken_UI).tocsr()),
        friends_UU=friends,
        terms_IG=term_counts(tags, categories, taken_UI.shape[1]),
    )


def fetch(connection: duckdb.DuckDBPyConnection, query: str) -> Columns:
    found = connection.execute(query).fetchnumpy()
    return {name: np.asarray(values) for name, values in found.items()}


def table(data_dir: Path, name: str) -> str:
    """A canonical table, for SQL."""
    return f"read_parquet('{existing_path(data_dir, name)}')"


def read_pairs(
    connection: duckdb.DuckDBPyConnection, query: str, shape: tuple[int, int]
) -> sp.csr_matrix:
    """The (user_id, item_id, number) rows of a query as a matrix [U, I]."""
    rows = fetch(
        connection,
        f"SELECT users.number AS user, items.number AS item, found.number FROM ({query}) AS found "
        "JOIN users USING (user_id) JOIN items USING (item_id)",
    )
    return sp.csr_matrix((rows["number"].astype(np.float64), (rows["user"], rows["item"])), shape)


def read_tags(connection: duckdb.DuckDBPyConnection, data_dir: Path, condition: str) -> Columns:
    """user, item and text of each tag that somebody gave an item."""
    return fetch(
        connection,
        "SELECT users.number AS user, items.number AS item, lower(text) AS term "
        f"FROM {table(data_dir, 'documents')} JOIN users USING (user_id) "
        f"JOIN items USING (item_id) WHERE kind = 'tag' AND {condition} ORDER BY ALL",
    )


def read_friends(
    connection: duckdb.DuckDBPyConnection, data_dir: Path, condition: str, num_users: int
) -> sp.csr_matrix | None:
    """Who is linked with whom, in either direction."""
    rows = fetch(
        connection,
        f"SELECT source.number AS source, target.number AS target FROM {table(data_dir, 'edges')} "
        "JOIN users AS source ON source.user_id = source_id "
        f"JOIN users AS target ON target.user_id = target_id WHERE {condition}",
    )
    if not len(rows["source"]):
        return None
    links = sp.csr_matrix(
        (np.ones(len(rows["source"])), (rows["source"], rows["target"])), (num_users, num_users)
    )
    friends_UU = (links + links.T).tocsr()
    friends_UU.setdiag(0.0)
    friends_UU.eliminate_zeros()
    friends_UU.data[:] = 1.0
    return friends_UU


def read_categories(connection: duckdb.DuckDBPyConnection, data_dir: Path) -> Columns:
    return fetch(
        connection,
        "SELECT items.number AS item, unnest(items.categories) AS term FROM items ORDER BY ALL",
    )


def of_pairs(tags: Columns, taken_UI: sp.csr_matrix) -> Columns:
    """The tags whose user took up the item in training."""
    user, item = taken_UI.nonzero()
    num_items = taken_UI.shape[1]
    keys = tags["user"].astype(np.int64) * num_items + tags["item"].astype(np.int64)
    kept = np.isin(keys, user.astype(np.int64) * num_items + item)
    return {name: values[kept] for name, values in tags.items()}


def term_counts(
    tags: Columns,
    categories: Columns,
    num_items: int,
) -> sp.csr_matrix | None:
    """[I, G]: a column for each tag and each category in use."""
    terms = np.concatenate(
        [[f"tag {term}" for term in tags["term"]], [f"in {term}" for term in categories["term"]]]
    )
    if not len(terms):
        return None
    names, column = np.unique(terms, return_inverse=True)
    item = np.concatenate([tags["item"], categories["item"]]).astype(np.int64)
    counts = sp.csr_matrix((np.ones(len(item)), (item, column)), (num_items, len(names)))
    is_tag_G = np.char.startswith(names.astype(str), "tag ")
    counts.data = np.where(is_tag_G[counts.indices], np.log1p(counts.data), 1.0)
    return counts


def relative(values_UI: sp.csr_matrix) -> sp.csr_matrix | None:
    """log(1 + value) over each user's mean; None if there is no value above 0."""
    logs_UI = values_UI.copy()
    logs_UI.data = np.log1p(np.maximum(logs_UI.data, 0.0))
    logs_UI.eliminate_zeros()
    if not logs_UI.nnz:
        return None
    num_U = np.maximum(logs_UI.getnnz(axis=1), 1)
    mean_U = np.asarray(logs_UI.sum(axis=1)).ravel() / num_U
    scale_U = np.divide(1.0, mean_U, out=np.zeros_like(mean_U), where=mean_U > 0)
    return sp.csr_matrix(sp.diags_array(scale_U) @ logs_UI)


def title_vectors(data_dir: Path, encoder: TextEncoder) -> Vectors:
    """The items' titles embedded, [I, D]; from the data set's cache where it has them."""
    with duckdb.connect() as connection:
        number_ids(connection, data_dir)
        rows = fetch(
            connection,
            "SELECT title, md5_number_lower(title) AS hash FROM items ORDER BY number",
        )
    folder = data_dir / "cache" / "embeddings" / encoder.fingerprint
    cache = EmbeddingCache(folder, encoder.dims)
    hashes = rows["hash"].astype(np.uint64)
    _, first = np.unique(hashes, return_index=True)
    embed_missing(cache, hashes[first], rows["title"][first], encoder)
    return cache.gather(hashes)


def embed_missing(
    cache: EmbeddingCache, hashes: NDArray[np.uint64], texts: NDArray[Any], encoder: TextEncoder
) -> None:
    missing = np.flatnonzero(cache.missing(hashes))
    for start in range(0, len(missing), TEXTS_AT_ONCE):
        some = missing[start : start + TEXTS_AT_ONCE]
        cache.add(hashes[some], encoder.encode(texts[some].tolist()))
