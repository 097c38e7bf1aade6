"""Statements: the parts of an explanation that can each be true or false.

A template makes them with their evidence; the checker finds them in a model's text.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["supported", "opinion", "unsupported", "contradicted"]


class Statement(BaseModel):
    """One clause and what the evidence says to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """The clause as it stands in the explanation, with the words that lead to it."""
    verdict: Verdict
    """`opinion` claims nothing that could be looked up: "we suggest X", "you might enjoy it"."""
    evidence: tuple[str, ...] = ()
    """Ids of the facts that support it."""
    problems: tuple[str, ...] = ()
    """What is wrong with it."""

    @property
    def may_stand(self) -> bool:
        return self.verdict in ("supported", "opinion")


def joined(statements: Iterable[Statement]) -> str:
    """The text that the statements make up."""
    return "".join(statement.text for statement in statements).strip()
