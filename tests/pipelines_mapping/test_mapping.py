"""Mistakes in the mapping page are errors that name the place; the examples have none."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from feature_repo.pipelines.adapters.mapping import read_mapping
from feature_repo.pipelines.tables import DataError

EXAMPLES = Path(__file__).parents[2] / "examples" / "mappings"
SOUND: dict[str, Any] = {
    "about": "test",
    "tables": {
        "interactions": {
            "files": "events.csv",
            "columns": {
                "user_id": "u",
                "item_id": "i",
                "action": {"constant": "view"},
                "timestamp": {"column": "at", "time": "epoch_s"},
            },
        }
    },
}


def write(folder: Path, page: object) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(page if isinstance(page, str) else yaml.safe_dump(page), encoding="utf-8")
    return path


def changed(place: str, value: object) -> dict[str, Any]:
    """The sound page with one value set at a dotted place."""
    page = deepcopy(SOUND)
    *parents, last = place.split(".")
    inner: Any = page
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return page


EVENTS = "tables.interactions"
COLUMNS = f"{EVENTS}.columns"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("abuot", "x", "abuot: unknown key"),
        (f"{EVENTS}.delimeter", ";", r"tables.interactions.0.delimeter: unknown key"),
        (f"{EVENTS}.delimiter", ";;", "delimiter: String should have at most 1 character"),
        (f"{EVENTS}.encoding", "utf-9", "'utf-9' is not an encoding"),
        (f"{EVENTS}.format", "xlsx", "format: Input should be 'csv', 'jsonl' or 'parquet'"),
        (f"{EVENTS}.files", [], "files: .* at least 1 item"),
        (f"{COLUMNS}.itemid", "i", "'itemid' is not a column of interactions .*mean item_id"),
        (f"{COLUMNS}.value", {}, "columns.value: give either `column` or `constant`"),
        (f"{COLUMNS}.value", {"column": "v", "constant": "1"}, "either `column` or `constant`"),
        (f"{COLUMNS}.value", {"column": "v", "time": "iso"}, "value: `time` is for"),
        (f"{COLUMNS}.value", {"column": "v", "separator": "|"}, "`separator` is for categories"),
        (f"{COLUMNS}.user_id", {"column": "u", "decimal": ","}, "`decimal` is for value, price"),
        (f"{COLUMNS}.timestamp", {"column": "at", "time": "unix"}, "'unix' is none of iso, ep"),
        (
            f"{COLUMNS}.timestamp",
            {"column": "at", "time": {"zone": "Berlin"}},
            r"columns.timestamp.time.zone: 'Berlin' is not a time zone",
        ),
        (f"{COLUMNS}.action", {"column": "a", "values": {True: "buy"}}, "in quotation marks"),
        (f"{COLUMNS}.action", {"column": "a", "otherwise": "view"}, "`otherwise` needs `values`"),
        (f"{EVENTS}.positive", {"column": "stars"}, "`column` and `at_least` go together"),
        (f"{EVENTS}.positive", {}, "give `actions`, or"),
        ("tables.edges", {"files": "e.csv", "columns": {"source_id": "a"}}, "target_id, kind must"),
        ("tables.likes", {"files": "e.csv", "columns": {}}, "tables.likes"),
        ("tables", {}, "`interactions` is missing"),
        ("snapshot_at", "2024-01-01T00:00:00", "snapshot_at: .*timezone"),
        (
            "tables.items",
            {"files": "i.jsonl", "columns": {"item_id": "i", "category": "t", "categories": "t"}},
            "'t' is used as a list and as a single value",
        ),
    ],
)
def test_a_mistake_names_its_place(tmp_path: Path, place: str, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_mapping(write(tmp_path, changed(place, value)))


def test_events_without_times_must_say_so(tmp_path: Path) -> None:
    page = deepcopy(SOUND)
    del page["tables"]["interactions"]["columns"]["timestamp"]
    with pytest.raises(DataError, match="say `timed: false`"):
        read_mapping(write(tmp_path, page))
    page["tables"]["interactions"]["timed"] = False
    assert not read_mapping(write(tmp_path, page)).tables["interactions"][0].timed


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    text = yaml.safe_dump(SOUND)
    with pytest.raises(DataError, match=r"the key 'files' is there twice(.|\n)*line 13"):
        read_mapping(write(tmp_path, text + "    files: others.csv\n"))


def test_anchors_spare_repetition(tmp_path: Path) -> None:
    text = yaml.safe_dump(SOUND).replace("about: test", "about: &name test")
    text += "snapshot_at: null\nvalue_bounds: {*name : [0, 1]}\n"
    assert read_mapping(write(tmp_path, text)).value_bounds == {"test": (0.0, 1.0)}


@pytest.mark.parametrize("text", ["tables: [", "just words", "", "- a\n- b\n", "about: \xa0\x07"])
def test_what_is_no_mapping_is_a_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"mapping\.yaml"):
        read_mapping(write(tmp_path, text))


def test_a_missing_page_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; examples are in"):
        read_mapping(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_the_examples_are_sound_and_say_how_to_run_them(name: str) -> None:
    page = EXAMPLES / f"{name}.yaml"
    assert read_mapping(page).about
    text = page.read_text(encoding="utf-8")
    assert f"--mapping examples/mappings/{name}.yaml" in text
    assert f"--source examples/data/{name}" in text
