"""Reading: one English clause held against the evidence, and the problems found so far."""

from functools import cached_property
from typing import Optional

from serving.clauses import Clause
from serving.evidence import Evidence, Fact
from serving.mentions import PRIVATE, Masked, Mention
from serving.vocabulary import DID, FRIENDS, NUMBER_WORDS, SIMILAR, TOOK_UP


class Reading:
    """A clause, what it names, and what the clause before lets it point at."""

    def __init__(
        self, clause: Clause, masked: Masked, record: Evidence, before: Optional["Reading"]
    ) -> None:
        self.record, self.clause, self._before = record, clause, before
        self.words = clause.words
        self.said = frozenset(clause.words)
        self.problems: list[str] = []
        self.contradicted = False
        self.name_of = {w: m for w in clause.words if (m := masked.mention(w)) is not None}
        self.names = [self.name_of[word] for word in clause.words if word in self.name_of]
        own = clause.own
        self.first = masked.mention(own[0]) if own and PRIVATE.match(own[0]) else None
        self.last = masked.mention(own[-1]) if own and PRIVATE.match(own[-1]) else None

    @property
    def about(self) -> Mention | None:
        """The name that the clause before ends with: what "which" points at."""
        return self._before.last if self._before else None

    @property
    def subject(self) -> Mention | None:
        return self.about if self.said & {"which", "who", "whom"} else None

    @property
    def topic(self) -> Mention | None:
        """The past item of "A is similar, and you played it"."""
        before = self._before
        if before is None or before.first is None or "you" in before.said:
            return None
        likened = before.first.history and not before.first.is_item and before.said & SIMILAR
        return before.first if likened else None

    @cached_property
    def is_of_friends(self) -> bool:
        """Names friends, or goes on about those of the clause before: "who", "3 of them"."""
        if self.said & FRIENDS:
            return True
        before = self._before
        of_past = self.about is not None and not self.about.is_item
        goes_on = self.said & {"who", "them"} and not of_past
        return bool(goes_on and before is not None and before.is_of_friends)

    @property
    def past(self) -> list[Fact]:
        """Facts of past items named here, unless the name can also be the item's."""
        return [m.history for m in self.names if m.history and not m.is_item]

    @property
    def terms(self) -> list[Fact]:
        return [m.term for m in self.names if m.term and not m.is_item and not m.history]

    @property
    def tells_of_a_past_item(self) -> bool:
        return bool(self.past or (self.subject is not None and self.subject.history))

    @cached_property
    def numbers(self) -> list[tuple[int, int]]:
        """Places and values. "One" is a pronoun except where it counts friends."""
        return [
            (place, int(word) if word.isdecimal() else NUMBER_WORDS[word])
            for place, word in enumerate(self.words)
            if word.isdecimal() or (word in NUMBER_WORDS and word != "one")
        ]

    def object(self, problem: str) -> None:
        """The evidence does not have this."""
        self.problems.append(problem)

    def against(self, problem: str) -> None:
        """The evidence speaks against this."""
        self.problems.append(problem)
        self.contradicted = True


def means(verb: str, action: str) -> bool:
    """Whether the verb says no more than the action.

    >>> means("heard", "play"), means("loved", "play"), means("took", "play")
    (True, False, True)
    """
    return verb in TOOK_UP or verb in DID.get(action, "").split()
