"""Checker: does a text say anything that the evidence does not?

In: a text and the evidence record it was written from. Out: its statements, each with a verdict,
the facts that support it and what is wrong with it. What a grammar does not know is not supported:
the vocabulary is closed, so a name, a number, a person or a quality that was made up cannot pass.
The grammars are in english.py and chinese.py.
"""

from dataclasses import dataclass
from functools import cached_property

from serving import chinese, english
from serving.evidence import Evidence
from serving.mentions import Masked, mask
from serving.phrases import Language
from serving.statements import Statement, joined

GRAMMARS = {"en": english, "zh": chinese}


@dataclass(frozen=True)
class Checked:
    """A text in statements."""

    statements: tuple[Statement, ...]
    problems: tuple[str, ...]
    """Every problem in reading order; none means that the text may be shown."""

    @property
    def is_supported(self) -> bool:
        return not self.problems

    @cached_property
    def text(self) -> str:
        """The text with names as the catalogue spells them."""
        return joined(self.statements)


def check(text: str, record: Evidence, language: Language = "en") -> Checked:
    """Judge every statement of a text."""
    if not text.strip():
        return Checked((), ("the text is empty",))
    grammar = GRAMMARS[language]
    masked = mask(text.strip(), record, grammar.WORDS)
    statements = tuple(grammar.judge(masked, record))
    problems = [problem for statement in statements for problem in statement.problems]
    if not _names_the_item(masked):
        problems.append("the suggested item is not named")
    return Checked(statements, tuple(problems))


def cut(checked: Checked, record: Evidence, language: Language = "en") -> Checked | None:
    """The text without the statements that may not stand; None when what is left says nothing.

    The first statement of a text is never cut: the others lean on it.
    """
    if not checked.statements or not checked.statements[0].may_stand:
        return None
    kept = GRAMMARS[language].without_faults(checked.statements)
    again = check(kept, record, language)
    told = any(statement.evidence for statement in again.statements)
    return again if again.is_supported and told else None


def _names_the_item(masked: Masked) -> bool:
    found = (masked.mention(char) for char in masked.text)
    return any(mention is not None and mention.is_item for mention in found)
