"""A text encoder for a million invented texts: it counts words, where a language model reads them.

In: texts. Out: unit vectors, by default as wide as the pipeline's `--text-dims 64` leaves them. The
texts of the synthetic world are made of words of their sub-themes, so a text's vector is its topics
under one fixed random projection, plus the words that are noise. It stands in for some 80 minutes
of a language model on two cores.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer

WORDS = 2**14  # places that words are hashed to: the world has some 2,000


class WordProjection:
    """The sum of its words' random vectors, at unit length."""

    def __init__(self, dims: int = 64, seed: int = 0) -> None:
        self.dims = dims
        self.fingerprint = f"word-projection-{dims}-{seed}"
        self._count = HashingVectorizer(n_features=WORDS, alternate_sign=False, norm=None)
        draws = np.random.default_rng(seed)
        self._vectors_WD = draws.standard_normal((WORDS, dims), np.float32)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [N, D]; a text without a word is one of the first word's."""
        counts_NW = self._count.transform(texts)
        sums_ND = np.asarray(counts_NW @ self._vectors_WD, np.float32)
        sums_ND[counts_NW.getnnz(axis=1) == 0] = self._vectors_WD[0]
        return np.asarray(sums_ND / np.linalg.norm(sums_ND, axis=1, keepdims=True))
