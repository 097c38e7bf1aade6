"""Running means over texts: what one item or user has had said so far, as feature rows.

Takes mentions sorted by key and instant, gives one row per key and instant; holds one key's sums
and one block of rows at a time.
"""

# Shapes: N rows or mentions, D width of the encoder, K width after PCA (K = D without).
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.pipelines.features.embedding_cache import EmbeddingCache
from feature_repo.pipelines.features.engine import stamped
from feature_repo.pipelines.features.keywords import top_keywords
from feature_repo.pipelines.features.reduce import Reducer

OWN_TEXT_WEIGHT = 1.0
"""Weight of an item's own text against all that is said about it together, which weighs 1."""

BATCH_ROWS = 4_096
"""Mentions read and rows written at a time: at 384 dimensions 6 MB each."""


@dataclass(slots=True)
class RunningText:
    """Sums over the texts of one item or user so far.

    Adding is strictly one by one, so that a later text cannot change an earlier row's rounding.
    """

    own_D: NDArray[np.float64]
    said_D: NDArray[np.float64]
    num_own: int = 0
    num_said: int = 0
    sentiment: float = 0.0
    num_opinions: int = 0
    terms: Counter[str] = field(default_factory=Counter)

    def add(self, mention: Mapping[str, Any], vector_D: NDArray[np.float32]) -> None:
        """Count one more text."""
        self.terms.update(mention["terms"])
        if mention["is_own"]:
            self.own_D += vector_D
            self.num_own += 1
            return
        self.said_D += vector_D
        self.num_said += 1
        if mention["sentiment"] is not None:
            self.sentiment += mention["sentiment"]
            self.num_opinions += 1

    def embedding(self) -> NDArray[np.float64]:
        """Weighted mean of the mean of own texts and the mean of what is said; not of length 1."""
        own_weight = OWN_TEXT_WEIGHT if self.num_own else 0.0
        said_weight = 1.0 if self.num_said else 0.0
        own_D = own_weight * self.own_D / max(1, self.num_own)
        total_D: NDArray[np.float64] = own_D + self.said_D / max(1, self.num_said)
        return total_D / (own_weight + said_weight)

    def mean_sentiment(self) -> float | None:
        """Mean of the texts that have a say."""
        return self.sentiment / self.num_opinions if self.num_opinions else None


@dataclass(frozen=True)
class TextRows:
    """Turns sorted mentions into feature rows."""

    weights: Mapping[str, float]
    cache: EmbeddingCache
    reducer: Reducer | None

    def tables(self, batches: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.Table]:
        """Tables of up to `BATCH_ROWS` rows from mentions sorted by key and counts_us."""
        kept: list[tuple[object, ...]] = []
        for row in self._rows(batches):
            kept.append(row)
            if len(kept) == BATCH_ROWS:
                yield self._table(kept, schema)
                kept = []
        if kept:
            yield self._table(kept, schema)

    def _rows(self, batches: pa.RecordBatchReader) -> Iterator[tuple[object, ...]]:
        running, current_key = self._fresh(), None
        for (key, counts_us), mentions in groupby(
            self._mentions(batches), lambda pair: (pair[0]["key"], pair[0]["counts_us"])
        ):
            if key != current_key:
                running, current_key = self._fresh(), key
            for mention, vector_D in mentions:
                running.add(mention, vector_D)
            yield (
                key,
                counts_us,
                running.embedding(),
                top_keywords(running.terms, self.weights),
                running.mean_sentiment(),
                running.num_said,
            )

    def _mentions(
        self, batches: pa.RecordBatchReader
    ) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
        for batch in batches:
            vectors_ND = self.cache.gather(batch.column("text_hash").to_numpy())
            yield from zip(batch.to_pylist(), vectors_ND, strict=True)

    def _fresh(self) -> RunningText:
        return RunningText(np.zeros(self.cache.dims), np.zeros(self.cache.dims))

    def _table(self, rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
        keys, at_us, means, keywords, sentiment, num_said = zip(*rows, strict=True)
        vectors_NK = self.finish(np.stack(means))
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * vectors_NK.shape[1]
        columns = (
            keys,
            pa.ListArray.from_arrays(offsets, pa.array(vectors_NK.ravel())),
            keywords,
            sentiment,
            num_said,
        )
        return stamped(
            dict(zip(schema.names, columns, strict=False)), np.array(at_us, np.int64), schema
        )

    def finish(self, means_ND: NDArray[np.float64]) -> NDArray[np.float32]:
        """PCA where there is one, then length 1."""
        vectors_NK = self.reducer.apply(means_ND) if self.reducer else means_ND
        lengths_N1 = np.linalg.norm(vectors_NK, axis=1, keepdims=True)
        unit_NK: NDArray[np.float32] = (vectors_NK / np.maximum(lengths_N1, 1e-12)).astype(
            np.float32
        )
        return unit_NK
