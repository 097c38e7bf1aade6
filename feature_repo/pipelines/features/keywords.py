"""Keywords by TF-IDF: terms of a text, the weight of a term, the best terms of a running count.

The weights are fitted on texts of the training period only. A tag, a category and a creator is one
term as it stands; other texts give words and pairs of words without English stop words, by
scikit-learn's analyser.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from heapq import nsmallest

import duckdb
from sklearn.feature_extraction.text import TfidfVectorizer

NUM_KEYWORDS = 8
MIN_OWNERS = 2
"""A term that a single item uses can teach nothing about another: it gets the weight of an unknown
term."""
MAX_TERMS = 1_000_000
"""Weights kept, the most widespread first; bounds memory to some hundred MB on large corpora."""
UNKNOWN_WEIGHT = 1.0
"""The least weight that the formula gives: new or lone terms fill the list only after known
ones."""


@lru_cache(maxsize=1)
def _analyzer() -> Callable[[str], list[str]]:
    analyzer: Callable[[str], list[str]] = TfidfVectorizer(
        ngram_range=(1, 2), stop_words="english"
    ).build_analyzer()
    return analyzer


def terms_of(phrases: Iterable[str], prose: Iterable[str]) -> list[str]:
    """Terms of one text, with repeats; each piece of prose by itself, so that no pair spans two of
    them.

    >>> terms_of(["Science  Fiction"], ["The red planet"])
    ['science fiction', 'red', 'planet', 'red planet']
    """
    whole = (" ".join(phrase.lower().split()) for phrase in phrases)
    return [term for term in whole if term] + [
        term for piece in prose for term in _analyzer()(piece)
    ]


def fit_weights(connection: duckdb.DuckDBPyConnection, owned_terms: str) -> dict[str, float]:
    """Inverse document frequency of each term, ln((1 + n) / (1 + df)) + 1, as scikit-learn's smooth
    form.

    `owned_terms` is a relation (owner, terms) of training-period texts. An owner, the item or else
    the writer, is one document: a tag that a thousand users put on one item is still a rare tag.
    """
    num_owners = connection.sql(f"SELECT count(DISTINCT owner) FROM {owned_terms}").fetchall()[0][0]
    rows = connection.sql(
        f"""
        SELECT term, count(DISTINCT owner) AS df
        FROM (SELECT owner, unnest(terms) AS term FROM {owned_terms})
        GROUP BY term HAVING df >= {MIN_OWNERS} ORDER BY df DESC, term LIMIT {MAX_TERMS}
        """
    ).fetchall()
    return {term: math.log((1 + num_owners) / (1 + df)) + 1 for term, df in rows}


def top_keywords(counts: Mapping[str, int], weights: Mapping[str, float]) -> list[str]:
    """The `NUM_KEYWORDS` terms with the greatest count times weight, best first; ties by alphabet.

    >>> top_keywords({"the_band": 9, "rock": 4, "shoegaze": 2}, {"rock": 1.2, "shoegaze": 5.0})
    ['shoegaze', 'the_band', 'rock']
    """
    scored = [(-n * weights.get(term, UNKNOWN_WEIGHT), term) for term, n in counts.items()]
    return [term for _, term in nsmallest(NUM_KEYWORDS, scored)]
