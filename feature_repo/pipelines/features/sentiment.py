"""Is a text for or against? VADER's compound score (Hutto and Gilbert 2014).

Tags are mostly neutral words that the lexicon does not know ("rock"): a tag counts only when its
score is not zero, or the few that do speak ("beautiful", "awful") would drown. Reviews and posts
always count. The lexicon is English: other languages score zero.
"""

from functools import lru_cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

MAX_CHARACTERS = 5_000
"""VADER's time grows with the square of the words: longer texts are cut here."""


@lru_cache(maxsize=1)
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


def sentiment_of(text: str, is_tag: bool) -> float | None:
    """Compound score in [-1, 1]; None when the text has no say.

    >>> sentiment_of("I love it", is_tag=False) > 0.5
    True
    >>> sentiment_of("rock", is_tag=True) is None
    True
    """
    score = float(_analyzer().polarity_scores(text[:MAX_CHARACTERS])["compound"])
    return None if is_tag and score == 0.0 else score
