"""Where a user stands in the friendship graph: a FastRP embedding that needs no fit.

In: edges, taken as undirected. Out: rows of 64 floats on a monthly grid (one row at 1970-01-01 for
links without a time); a row at G knows only links from strictly before G. The random vector of a
friend comes from a seeded hash of the friend's id, so it is the same in every snapshot, and a
user's vectors of two months can be compared.
"""

from collections.abc import Iterator
from hashlib import blake2b

import duckdb
import numpy as np
import pyarrow as pa
from scipy import sparse

from feature_repo.pipelines.features.decay import Ints
from feature_repo.pipelines.features.engine import Partition, belongs, lists, stamped
from feature_repo.pipelines.features.schemas import GRAPH_DIMS, SCHEMAS

POWER_WEIGHTS = (1.0, 1.0, 1.0)
"""Weight of friends, friends of friends, and their friends in the sum."""

DEGREE_POWER = -0.5
"""Exponent by which a friend with many links counts less in a user's mean (beta of the paper)."""

Matrix = np.ndarray

# The month after the link: 00:00 UTC of its first day.
_LINKS = """
    WITH links AS (
        SELECT source_id, target_id, if(timed, epoch_us(
            date_trunc('month', make_timestamp(valid_from_us)) + INTERVAL 1 MONTH), 0) AS from_us
        FROM edges WHERE source_id <> target_id)
    SELECT least(source_id, target_id) AS one, greatest(source_id, target_id) AS other,
           min(from_us) AS from_us
    FROM links GROUP BY ALL ORDER BY from_us, one, other"""


def user_graph(
    connection: duckdb.DuckDBPyConnection, partition: Partition = None, seed: int = 0
) -> Iterator[pa.Table]:
    """FastRP embeddings (Chen et al. 2019) of every user with a link, at each month whose links
    changed them.

    Neighbours of neighbours reach across partitions, so every partition computes all and keeps its
    own.
    """
    with connection.cursor() as cursor:
        links = cursor.execute(_LINKS).to_arrow_table()
    if links.num_rows == 0:
        return
    ids = (
        pa.concat_arrays([links[name].combine_chunks() for name in ("one", "other")])
        .unique()
        .sort()
    )
    one, other = (_codes(links[name].combine_chunks(), ids) for name in ("one", "other"))
    from_us = links["from_us"].to_numpy()
    vectors = random_vectors(ids.to_pylist(), seed)
    kept = _kept(connection, ids, partition)
    before = np.zeros_like(vectors)
    for now_us in np.unique(from_us):
        known = from_us <= now_us
        embedding = fastrp(_adjacency(one[known], other[known], len(ids)), vectors)
        changed = np.flatnonzero((embedding != before).any(axis=1) & kept)
        before = embedding
        yield _graph_rows(ids.take(pa.array(changed)), embedding[changed], int(now_us))


def random_vectors(ids: list[str], seed: int, dims: int = GRAPH_DIMS) -> Matrix:
    """Sparse random vectors, [len(ids), dims]: sqrt(3) times -1, 0, 1 with odds 1/6, 2/3, 1/6."""
    salt = seed.to_bytes(16, "little")
    digests = b"".join(blake2b(i.encode(), digest_size=dims, salt=salt).digest() for i in ids)
    draws = np.frombuffer(digests, dtype=np.uint8).reshape(len(ids), dims)
    # 43 of 256 is the nearest a byte comes to a sixth.
    signs = (draws >= 213).astype(np.float32) - (draws < 43).astype(np.float32)
    return signs * np.float32(np.sqrt(3.0))


def fastrp(adjacency: sparse.csr_matrix, vectors: Matrix) -> Matrix:
    """Weighted sum of the row-normalised powers of the transition matrix times the vectors, [nodes,
    dims].

    Nodes without a link get zeros. Algorithm 1 of the paper; its constant 2m cancels in the
    normalisation.
    """
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    known = degree > 0
    safe = np.where(known, degree, 1.0)
    transition = sparse.diags_array(1.0 / safe) @ adjacency
    power = vectors * (known * safe**DEGREE_POWER)[:, None]
    embedding = np.zeros(vectors.shape, dtype=np.float64)
    for weight in POWER_WEIGHTS:
        power = transition @ power
        norm = np.linalg.norm(power, axis=1, keepdims=True)
        embedding += weight * power / np.where(norm > 0, norm, 1.0)
    return embedding.astype(np.float32)


def _adjacency(one: Ints, other: Ints, size: int) -> sparse.csr_matrix:
    ends = np.concatenate([one, other]), np.concatenate([other, one])
    return sparse.csr_matrix((np.ones(2 * len(one)), ends), shape=(size, size))


def _codes(names: pa.Array, ids: pa.Array) -> Ints:
    return np.searchsorted(np.asarray(ids.to_pylist()), np.asarray(names.to_pylist()))


def _kept(connection: duckdb.DuckDBPyConnection, ids: pa.Array, partition: Partition) -> np.ndarray:
    with connection.cursor() as cursor:
        cursor.register("graph_ids", pa.table({"id": ids}))
        flags = cursor.execute(f"SELECT {belongs('id', partition)} AS kept FROM graph_ids")
        return np.asarray(flags.to_arrow_table()["kept"])


def _graph_rows(users: pa.Array, embedding: Matrix, now_us: int) -> pa.Table:
    lengths = np.full(len(users), GRAPH_DIMS, dtype=np.int64)
    columns = {"user_id": users, "graph_embedding": lists(pa.array(embedding.ravel()), lengths)}
    return stamped(columns, np.full(len(users), now_us, dtype=np.int64), SCHEMAS["user_graph"])
