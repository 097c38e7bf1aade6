"""Amazon Beauty (2014), in the form sequential recommenders publish their figures on.

`Beauty.txt` has a line per user: the user, then the items in the order of time. The time itself is
not there, so one is made: the last event of every line is on one day, the event before it one day
earlier, and so on. Cutting by time is then leaving the last one out: the last day holds everybody's
last event, the day before everybody's last but one, and no event tells how many more a user has.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from feature_repo.pipelines.delimited import read_delimited, require_file
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.tables import DataError

LAST_EVENT_AT = datetime(2014, 7, 23, tzinfo=UTC)  # the day of the last review of the 2014 edition
STEP = timedelta(days=1)
USERS_PER_CHUNK = 5_000


def read(source: Path | None, sink: RawSink, options: Mapping[str, object]) -> RawInfo:
    """Read the folder `source`: Beauty.txt, the titles and the items' attributes. No options."""
    lines = require_file(source, "Beauty.txt")
    titles = require_file(source, "beauty_item_titles.csv")
    attributes = _read_attributes(require_file(source, "Beauty_item2attributes.json"))
    _read_items(titles, attributes, sink)
    for chunk in _read_lines(lines, sink):
        sink.write("interactions", chunk)
    sink.note(
        "The source has the order of each user's events and no time. Time is made up: the last "
        f"event of every user is on {LAST_EVENT_AT:%Y-%m-%d}, each earlier one a day before."
    )
    sink.note("Categories are anonymous attribute numbers; the primary one is the most widespread.")
    return RawInfo(
        source_text="Amazon reviews 2014, Beauty, 5-core, as user lines; research use",
        time_resolution="order",
        snapshot_at=LAST_EVENT_AT,
        train_fraction=0.8,  # with 0.1 to validate on, the cuts leave out each user's last events
    )


def _read_attributes(path: Path) -> dict[str, list[str]]:
    """The attributes of each item, the most widespread first."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        attributes = {item: [f"attribute {n}" for n in found[item]] for item in found}
    except (json.JSONDecodeError, UnicodeError, TypeError) as error:
        raise DataError(
            f"{path} is not a JSON object of item -> attribute list: {error}"
        ) from error
    spread = Counter(name for names in attributes.values() for name in names)
    return {
        item: sorted(names, key=lambda name: (-spread[name], name))
        for item, names in attributes.items()
    }


def _read_items(path: Path, attributes: dict[str, list[str]], sink: RawSink) -> None:
    for chunk in read_delimited(path, ["item_id", "title"], sink, "items"):
        found = [attributes.get(item, []) for item in chunk["item_id"].to_pylist()]
        categories = pa.array(found, pa.list_(pa.string()))
        sink.write("items", chunk.append_column("categories", categories))


def _read_lines(path: Path, sink: RawSink) -> Iterator[pa.Table]:
    with (
        path.open("rb") as file,
        tqdm(
            total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=None
        ) as bar,
    ):
        numbered = enumerate(file, start=1)
        while chunk := list(islice(numbered, USERS_PER_CHUNK)):
            bar.update(sum(len(line) for _, line in chunk))
            yield pa.Table.from_pylist(
                [row for number, line in chunk for row in _to_rows(line, number, path, sink)],
                RAW_SCHEMA,
            )


RAW_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("action", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("source_file", pa.string()),
        ("line", pa.int64()),
    ]
)


def _to_rows(line: bytes, number: int, path: Path, sink: RawSink) -> list[dict[str, object]]:
    user, *items = line.decode("ascii", "backslashreplace").split() or [""]
    if user and not items:
        sink.reject("interactions", "a user without items", path.name, number, {"user_id": user})
    return [
        {
            "user_id": user,
            "item_id": item,
            "action": "review",
            "timestamp": LAST_EVENT_AT - STEP * steps_to_end,
            "source_file": path.name,
            "line": number,
        }
        for item, steps_to_end in zip(items, reversed(range(len(items))), strict=True)
    ]
