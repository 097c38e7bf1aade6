"""From scores to ranked lists: full ranking over all candidates, in blocks of bounded memory.

In: a scorer and queries. Out: the first K items of each query's list, and which of them are
relevant. Ties are broken by a seeded shuffle of the items that differs from query to query, so that
a scorer that says nothing is worth no more than chance.

Shapes: Q queries, B queries of a block, I items, K places of a ranked list.
"""

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.baselines import Scorer
from training.queries import Queries, Ragged

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LARGEST_BLOCK = 256
CELLS_AT_ONCE = 32_000_000  # scores of a block; with its sort keys about 0.6 GB


def top_items(
    scorer: Scorer, queries: Queries, k: int, seed: int = 0, progress: bool = False
) -> Ints:
    """The best k candidates of each query, best first, [Q, k]; -1 where there are no more.

    Raises ValueError for a nan or +inf score.
    """
    size = max(1, min(LARGEST_BLOCK, CELLS_AT_ONCE // max(queries.num_items, 1)))
    blocks = range(0, len(queries), size)
    top_QK = np.full((len(queries), k), -1, dtype=np.int64)
    for start in tqdm(blocks, desc=f"rank {scorer.name}", leave=False, disable=not progress):
        rows = np.arange(start, min(start + size, len(queries)))
        scores_BI = np.array(scorer.score(queries, rows), dtype=np.float32)
        check_scores(scores_BI, scorer.name, (len(rows), queries.num_items))
        scores_BI[~queries.candidates(rows)] = -np.inf
        best_Bk = select(scores_BI, k, tie_order(queries, rows, seed))
        top_QK[rows, : best_Bk.shape[1]] = best_Bk
    return top_QK


def check_scores(scores_BI: NDArray[np.float32], name: str, shape: tuple[int, int]) -> None:
    """Raise ValueError for scores of the wrong shape, nan or +inf."""
    if scores_BI.shape != shape:
        raise ValueError(f"scorer {name!r} returned shape {scores_BI.shape}, expected {shape}")
    wrong = np.isnan(scores_BI) | np.isposinf(scores_BI)
    if wrong.any():
        raise ValueError(f"scorer {name!r} returned {int(wrong.sum())} scores that are nan or +inf")


def select(scores_BI: NDArray[np.float32], k: int, tie_BI: Ints) -> Ints:
    """Best k of each row by score, equal ones by the greater of distinct tie numbers; -inf is -1.

    >>> scores = np.array([[1.0, 3.0, 3.0, -np.inf]], dtype=np.float32)
    >>> select(scores, 4, np.array([[0, 1, 2, 3]])).tolist()
    [[2, 1, 0, -1]]
    """
    k = min(k, scores_BI.shape[1])
    # A float's bits, read as an integer, sort like the float once the negative half is flipped;
    # with the tie number below them, one partition of integers settles scores and ties exactly.
    bits_BI = (scores_BI + np.float32(0.0)).view(np.int32).astype(np.int64)
    key_BI = (np.where(bits_BI < 0, bits_BI ^ 0x7FFFFFFF, bits_BI) << 32) | tie_BI
    best_Bk = np.argpartition(key_BI, -k, axis=1)[:, -k:]
    order_Bk = np.argsort(-np.take_along_axis(key_BI, best_Bk, axis=1), axis=1)
    best_Bk = np.take_along_axis(best_Bk, order_Bk, axis=1)
    return np.where(np.isneginf(np.take_along_axis(scores_BI, best_Bk, axis=1)), -1, best_Bk)


def tie_order(queries: Queries, rows: Ints, seed: int) -> Ints:
    """Distinct numbers [B, I] that order equal scores: one shuffle, rotated for each query.

    The rotation depends on the user and the instant, not on the query's place among others.
    """
    num_items = queries.num_items
    shuffle_I = np.random.default_rng(seed).permutation(num_items)
    mixed_B = queries.at_us[rows].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed_B ^= queries.user_index[rows].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    rotation_B = ((mixed_B >> np.uint64(11)) % np.uint64(num_items)).astype(np.int64)
    order_BI = shuffle_I[None, :] + rotation_B[:, None]
    order_BI[order_BI >= num_items] -= num_items
    return order_BI


def hits(top_QK: Ints, relevant: Ragged, num_items: int) -> Bools:
    """Which places of each list hold a relevant item, [Q, K]."""
    row, item = relevant.flat(np.arange(len(relevant)))
    keys_QK = np.arange(len(top_QK))[:, None] * num_items + top_QK
    return np.isin(keys_QK, row * num_items + item) & (top_QK >= 0)
