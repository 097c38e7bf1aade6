"""What the doctor found, for people and for machines.

In: a Report. Out: text of at most 100 columns, or plain values for JSON. Computes no verdicts.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from feature_repo.plugins.doctor.trials import Finding, ViewReport

OUR_STORE = "feature_repo.plugins.point_in_time.PointInTimeOfflineStore"
_WIDTH = 96
_CASE_WIDTH = 38
_FINE = ("kept", "note")
_COLOURS = {"AT RISK": "31;1", "healthy": "32", "NOT CHECKED": "33"}


@dataclass(frozen=True)
class Report:
    """One run of the doctor."""

    repo: str
    project: str
    offline_store: str
    views: tuple[ViewReport, ...]
    warnings: tuple[str, ...]
    not_checked: str | None
    """Why no case could be run, where none could."""
    took_s: float

    @property
    def at_risk(self) -> list[str]:
        """Names of the views that the store loses or leaks rows of."""
        return [report.view.name for report in self.views if report.at_risk]


def as_values(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "repo": report.repo,
        "project": report.project,
        "offline_store": report.offline_store,
        "at_risk": report.at_risk,
        "not_checked": report.not_checked,
        "views": [
            {
                "view": one.view.name,
                "shape": one.view.shape.describe(),
                "at_risk": one.at_risk,
                "cases": [
                    {
                        "case": finding.case,
                        "kind": finding.verdict.kind,
                        "verdict": finding.verdict.text,
                        "harm": finding.harm,
                    }
                    for finding in one.findings
                ],
            }
            for one in report.views
        ],
        "warnings": list(report.warnings),
        "took_s": round(report.took_s, 3),
    }


def as_text(report: Report, colour: bool) -> str:
    """The report to be read; `colour` for a terminal."""
    blocks = [_head(report), *_views(report, colour), *_harms(report), *_warnings(report)]
    return "\n\n".join([*blocks, _summary(report)]) + "\n"


def _head(report: Report) -> str:
    shapes = len({one.view.shape for one in report.views})
    return "\n".join(
        [
            f"repo           {report.repo} (project {report.project})",
            f"offline store  {report.offline_store}",
            f"views          {len(report.views)} (shapes: {shapes}), in {report.took_s:.0f} s",
        ]
    )


def _views(report: Report, colour: bool) -> Iterator[str]:
    """One table for all views of one shape and one fate, those at risk first."""
    alike: dict[tuple[Any, ...], list[ViewReport]] = {}
    for one in report.views:
        alike.setdefault((one.view.shape, one.findings), []).append(one)
    for reports in sorted(alike.values(), key=lambda reports: not reports[0].at_risk):
        state = "AT RISK" if reports[0].at_risk else "healthy"
        if report.not_checked:
            state = "NOT CHECKED"
        names = ", ".join(one.view.name for one in reports)
        lines = [
            *_filled(names, f"{state:<13}"),
            *_filled(reports[0].view.shape.describe()),
            *(line for finding in reports[0].findings for line in _row(finding)),
        ]
        kept = sum(finding.verdict.kind in _FINE for finding in reports[0].findings)
        if kept:
            others = (
                f"{kept} other cases" if kept < len(reports[0].findings) else f"all {kept} cases"
            )
            lines.append(f"{'':13}{others:<{_CASE_WIDTH}}kept")
        text = "\n".join(lines)
        if colour:
            text = text.replace(state, f"\033[{_COLOURS[state]}m{state}\033[0m", 1)
        yield text


def _row(finding: Finding) -> list[str]:
    """A line of the table, wrapped; nothing for a case in which nothing was lost."""
    if finding.verdict.kind in _FINE:
        return []
    return _filled(finding.verdict.text, f"{'':13}{finding.case:<{_CASE_WIDTH}}")


def _harms(report: Report) -> Iterator[str]:
    """What each failed case does to a user, once."""
    failed = {
        finding.case: finding.harm
        for one in report.views
        for finding in one.findings
        if finding.verdict.kind == "fails"
    }
    if failed:
        lines = [
            line
            for case, harm in failed.items()
            for line in _filled(harm, f"  {case:<{_CASE_WIDTH}}")
        ]
        yield "\n".join(["What that does:", *lines])


def _warnings(report: Report) -> Iterator[str]:
    found = [*report.warnings, *_notes(report)]
    if found:
        lines = [line for warning in found for line in _filled(warning, "  - ", "    ")]
        yield "\n".join(["Warnings, which do not fail the check:", *lines])


def _notes(report: Report) -> Iterator[str]:
    """What cases showed that loses nothing, with the views that it was seen on."""
    seen: dict[tuple[str, str], list[str]] = {}
    for one in report.views:
        for finding in one.findings:
            if finding.verdict.kind == "note":
                seen.setdefault((finding.case, finding.verdict.text), []).append(one.view.name)
    for (case, text), names in seen.items():
        views = "all views" if len(names) == len(report.views) else ", ".join(names)
        yield f"{views}: {case}: {text}"


def _summary(report: Report) -> str:
    if report.not_checked:
        return f"No case was run: {report.not_checked}."
    if not report.at_risk:
        return f"Healthy: 0 of {len(report.views)} views lose or leak rows."
    names = ", ".join(report.at_risk)
    lines = _filled(f"{len(report.at_risk)} of {len(report.views)} views: {names}.", "At risk: ")
    if report.offline_store != OUR_STORE:
        lines += [
            f"To fix it, set in {report.repo}/feature_store.yaml",
            "  offline_store:",
            f"    type: {OUR_STORE}",
            "To see that it helps, run",
            f"  python -m feature_repo.plugins.doctor {report.repo} --store potluck",
        ]
    return "\n".join(lines)


def _filled(text: str, first: str = " " * 13, rest: str | None = None) -> list[str]:
    """Wrapped lines behind a margin; further lines stand under the text."""
    margin = " " * len(first) if rest is None else rest
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=margin, break_long_words=False
    )
