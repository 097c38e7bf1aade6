"""Wordings: what true and false sentences of one language are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.phrases import Language


@dataclass(frozen=True)
class Falsehoods:
    """Clauses that are false of every record, or that nobody could look up."""

    flipped: Sequence[str]
    """The user is said to dislike or to have passed over what was taken up."""
    friends: Sequence[str]
    people: Sequence[str]
    """Whom {person} stands for."""
    compared: Sequence[str]
    qualities: Sequence[str]
    turned: Sequence[str]
    """Who did what is turned round."""
    term: str
    """Says that {names} is shared."""
    injected: Sequence[str]
    liked: str
    """A deed, for sentences that have none."""


@dataclass(frozen=True)
class Wordings:
    """True clauses and what joins them, each read and judged by a person."""

    language: Language
    deeds: Mapping[str, Sequence[str]]
    """By action, what the user did; {} stands where the names do not follow."""
    openings: Sequence[str]
    """{title}; the reasons follow."""
    reasons: Mapping[str, Sequence[str]]
    """By kind of fact."""
    joints: Sequence[str]
    number_names: Sequence[str]
    comma: str
    last: str
    """Between the last two names of a list."""
    stop: str
    false: Falsehoods

    def listed(self, names: Sequence[str]) -> str:
        return self.last.join([self.comma.join(names[:-1]), names[-1]] if names[1:] else names)
