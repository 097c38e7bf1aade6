"""Explainer: evidence records -> sentences that passed the checker, or the template's.

`explain_by_model` tries a language model's candidates in turn; the first supported one is shown.
"""

from collections.abc import Sequence
from typing import Protocol

from serving import templates
from serving.api import Explanation
from serving.checker import check
from serving.evidence import Evidence


class Writer(Protocol):
    """Writes candidate sentences for each record, most likely first."""

    def write(self, records: Sequence[Evidence]) -> list[list[str]]: ...


def explain_by_template(record: Evidence, rejected: Sequence[str] = ()) -> Explanation:
    return Explanation(text=templates.write(record), writer="template", rejected=list(rejected))


def explain_by_model(writer: Writer, records: Sequence[Evidence]) -> list[Explanation]:
    """One explanation a record. A record without evidence goes to the template: a model would
    have nothing to write from but its imagination."""
    told = [record for record in records if not record.is_empty]
    written = dict(zip((id(r) for r in told), writer.write(told), strict=True))
    return [
        first_supported(written[id(record)], record)
        if id(record) in written
        else explain_by_template(record)
        for record in records
    ]


def first_supported(candidates: Sequence[str], record: Evidence) -> Explanation:
    """The first candidate without a problem, else the template with all that was wrong."""
    rejected: list[str] = []
    for text in candidates:
        problems = check(text, record).problems
        if not problems:
            return Explanation(text=text, writer="model", rejected=rejected)
        rejected.append(f"{text!r}: {'; '.join(problems)}")
    return explain_by_template(record, rejected)
