"""The data report: known answers on a hand-made data set, and a page that stands by itself."""

from pathlib import Path

import pytest

from feature_repo.pipelines.judge import open_duckdb
from feature_repo.pipelines.report import DataReport, describe, summary_lines, write_report
from feature_repo.pipelines.split import find_span
from feature_repo.pipelines.tables import DatasetInfo
from tests.pipelines.raw_rows import clean_rows, day, event


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DataReport]:
    """Ten items: i0 has six take-ups, i1 three, three more have one each, i5 is only viewed."""
    folder = tmp_path_factory.mktemp("report")
    items = [{"item_id": f"i{n}", "title": "<b>Bold & co</b>"} for n in range(10)]
    events = [event(f"u{n}", "i0", day(n + 1)) for n in range(6)]
    events += [event(f"u{n}", "i1", day(n + 7)) for n in range(3)]
    events += [event("u0", f"i{n}", day(n + 8)) for n in (2, 3, 4)]
    events += [event("u0", "i5", day(1), action="view", is_positive=False)]
    events += [event("u1", "i2", None, timed=False), event("u1", "nothing", day(2))]
    counts = clean_rows(folder, {"items": items, "interactions": events})
    out = folder / "out"
    with open_duckdb(folder, 1.0) as db:
        span = find_span(db, out)
        info = DatasetInfo(
            name="<shop>",
            source="by hand",
            time_resolution="day",
            notes=["a note"],
            **span._asdict(),
        )
        report = describe(db, out, info, counts, ["price: by hand"])
        write_report(db, out, report)
    return out, report


def test_the_facts(built: tuple[Path, DataReport]) -> None:
    _, report = built
    assert report.counts["interactions"].rejected == {"unknown item": 1}
    assert report.actions["play"].num == 13
    assert report.actions["play"].num_untimed == 1
    assert report.actions["view"].num_take_ups == 0
    assert report.density == pytest.approx(14 / (6 * 10))
    # Take-ups: i0 6, i1 3, i2 2, i3 1, i4 1. The head is two of ten items, so 4 of 13 are outside.
    assert report.long_tail_share == pytest.approx(4 / 13)
    assert report.events_per_user["most"] == 6
    assert report.events_per_user["least"] == 1
    assert report.missing["items"]["price"] == 10
    takes = {name: facts.num_take_ups for name, facts in report.splits.items()}
    assert sum(takes.values()) == 12
    assert takes["train"] == 8  # 0.7 of twelve
    assert report.policies[-1] == "price: by hand"


def test_json_is_the_report(built: tuple[Path, DataReport]) -> None:
    out, report = built
    text = (out / "report" / "data_report.json").read_text(encoding="utf-8")
    assert DataReport.model_validate_json(text) == report


def test_the_page_stands_by_itself_and_escapes_what_the_data_says(
    built: tuple[Path, DataReport],
) -> None:
    out, _ = built
    page = (out / "report" / "data_report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    for loaded in ("<script", "<link", "<img", "@import", "url(http"):
        assert loaded not in page
    assert "&lt;shop&gt;" in page
    assert "<shop>" not in page
    for shown in ("unknown item", "a note", "price: by hand", "long tail"):
        assert shown in page


def test_the_summary_says_what_was_set_aside(built: tuple[Path, DataReport]) -> None:
    lines = summary_lines(built[1])
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert lines[-1].endswith("1 interactions: unknown item")
    assert any("1 events untimed" in line for line in lines)
