"""Templates: one grammatical sentence from an evidence record, in microseconds.

Used when no language model is asked for, and in the place of a model's sentence that fails the
checker. Every word comes from the record or from the fixed phrases below, so it is true by design.
"""

import zlib
from collections.abc import Sequence

from serving.evidence import Evidence

# Which source's contribution speaks for which clause; clauses are told strongest source first.
CLAUSE_SOURCES = {
    "history": ("behaviour",),
    "shared": ("text", "item"),
    "friends": ("social",),
    "popular": ("item", "behaviour"),
}
MAX_CLAUSES = 2
OPENINGS = ("We suggest {title} because {reasons}.", "{title} is here because {reasons}.")


def write(evidence: Evidence) -> str:
    """One sentence. The wording is the same for the same record.

    >>> write(Evidence(item_id="1", title="Tricky", history=("Portishead",), verb="played"))
    'Tricky is here because you played Portishead.'
    >>> write(Evidence(item_id="2", title="Low", num_friends=3))
    'Low is here because 3 of your friends took it up lately.'
    """
    clauses = [_clause(name, evidence) for name in _order(evidence)][:MAX_CLAUSES]
    if not clauses:
        return _fallback(evidence)
    opening = OPENINGS[zlib.crc32(evidence.item_id.encode()) % len(OPENINGS)]
    return opening.format(title=evidence.title, reasons=", and ".join(clauses))


def _fallback(evidence: Evidence) -> str:
    if evidence.is_new:
        return f"{evidence.title} is new here; we suggest it so that you can be among the first."
    return f"{evidence.title} fits what we know so far; tell us whether you like it."


def _order(evidence: Evidence) -> list[str]:
    present = {
        "history": bool(evidence.history),
        "shared": bool(evidence.shared),
        "friends": evidence.num_friends > 0,
        "popular": evidence.popular_within is not None,
    }

    def strength(clause: str) -> float:
        return max(evidence.contributions.get(source, 0.0) for source in CLAUSE_SOURCES[clause])

    # sorted is stable: with no contributions the order above stands.
    return sorted((name for name, there in present.items() if there), key=strength, reverse=True)


def _clause(name: str, evidence: Evidence) -> str:
    if name == "history":
        return f"you {evidence.verb} {_listed(evidence.history)}"
    if name == "shared":
        return f"it shares {_listed(evidence.shared)} with what you know"
    if name == "friends":
        noun = "friend" if evidence.num_friends == 1 else "friends"
        of_them = (
            "1 friend of yours" if noun == "friend" else f"{evidence.num_friends} of your friends"
        )
        return f"{of_them} took it up lately"
    return f"it is among the {evidence.popular_within} most popular lately"


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]
