"""Last.fm, HetRec 2011 (grouplens.org/datasets/hetrec-2011), as published.

Plays and friendships carry no time, tags a month (98 % of them say its first day). So plays become
untimed events at the instant of the snapshot, and the one timed action is to tag: all tags that a
user gave an artist in a month are one event, each tag is a document. `tags.dat` is ISO 8859-1, all
other files are UTF-8.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from feature_repo.pipelines.delimited import (
    TAB_SEPARATED,
    Dialect,
    cast_column,
    read_delimited,
    require_file,
)
from feature_repo.pipelines.raw import RawInfo, RawSink

SNAPSHOT_AT = datetime(2011, 6, 1, tzinfo=UTC)  # the last tags are of May 2011
FIRST_YEAR = 2005  # tagging on Last.fm is no older; five rows claim 1956 to 1979
LATIN_TAB_SEPARATED = Dialect(delimiter="\t", encoding="iso-8859-1", quoted=False)
TAG_COLUMNS = ["userID", "artistID", "tagID", "day", "month", "year"]


def read(source: Path | None, sink: RawSink, options: Mapping[str, object]) -> RawInfo:
    """Read the HetRec folder `source`: artists, plays, friends and tags. No options."""
    paths = {
        name: require_file(source, f"{name}.dat")
        for name in ("artists", "user_artists", "user_friends", "user_taggedartists", "tags")
    }
    _read_artists(paths["artists"], sink)
    _read_plays(paths["user_artists"], sink)
    _read_friends(paths["user_friends"], sink)
    _read_tags(paths["user_taggedartists"], paths["tags"], sink)
    sink.note("Plays and friendships carry no time; only tags do, and only to the month.")
    sink.note("Order within a month is unknown: tags of other days are moved to its first day.")
    return RawInfo(
        source_text="Last.fm, HetRec 2011 (plays, tags, friends); non-commercial use",
        time_resolution="month",
        snapshot_at=SNAPSHOT_AT,
        floor_at=datetime(FIRST_YEAR, 1, 1, tzinfo=UTC),
        value_bounds={"play": (1, 1e9)},
    )


def _read_artists(path: Path, sink: RawSink) -> None:
    for chunk in read_delimited(path, ["id", "name"], sink, "items", TAB_SEPARATED):
        sink.write("items", chunk.rename_columns(["item_id", "title", "source_file", "line"]))


def _read_plays(path: Path, sink: RawSink) -> None:
    columns = ["userID", "artistID", "weight"]
    for chunk in read_delimited(path, columns, sink, "interactions", TAB_SEPARATED):
        named = chunk.rename_columns(["user_id", "item_id", "value", "source_file", "line"])
        named = named.append_column("action", pa.repeat("play", len(named)))
        sink.write("interactions", named.append_column("timed", pa.repeat(False, len(named))))


def _read_friends(path: Path, sink: RawSink) -> None:
    for chunk in read_delimited(path, ["userID", "friendID"], sink, "edges", TAB_SEPARATED):
        named = chunk.rename_columns(["source_id", "target_id", "source_file", "line"])
        sink.write("edges", named.append_column("kind", pa.repeat("friend", len(named))))


def _read_tags(path: Path, names_path: Path, sink: RawSink) -> None:
    names = pa.concat_tables(
        read_delimited(names_path, ["tagID", "tagValue"], sink, "documents", LATIN_TAB_SEPARATED)
    )
    chunks = []
    for chunk in read_delimited(path, TAG_COLUMNS, sink, "documents", TAB_SEPARATED):
        for column in ("day", "month", "year"):
            chunk = cast_column(chunk, column, pa.int32(), sink, "documents")
        chunks.append(_reject_impossible_months(chunk, sink))
    # The file is fixed and small (186,479 rows): one query over all of it is in order.
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("names", names)
        db.register("tagged", pa.concat_tables(chunks))
        sink.write("documents", db.execute(DOCUMENTS_SQL).to_arrow_table())
        sink.write("interactions", db.execute(EVENTS_SQL).to_arrow_table())


MONTH = "make_timestamptz(year, month, 1, 0, 0, 0)"
DOCUMENTS_SQL = f"""
    SELECT userID AS user_id, artistID AS item_id, 'tag' AS kind, tagValue AS text,
        {MONTH} AS timestamp, tagged.source_file, tagged.line
    FROM tagged LEFT JOIN names USING (tagID) ORDER BY tagged.line"""
EVENTS_SQL = f"""
    SELECT userID AS user_id, artistID AS item_id, 'tag' AS action,
        count(DISTINCT tagID) AS value, {MONTH} AS timestamp,
        min(source_file) AS source_file, min(line) AS line
    FROM tagged GROUP BY userID, artistID, year, month ORDER BY line"""


def _reject_impossible_months(chunk: pa.Table, sink: RawSink) -> pa.Table:
    """Here, not in clean.py, so that a bogus row counts once and not as a document and an event."""
    good = []
    for row in chunk.to_pylist():
        origin = row.pop("source_file"), row.pop("line")
        is_month = 1 <= row["month"] <= 12 and row["year"] <= datetime.max.year
        good.append(is_month and row["year"] >= FIRST_YEAR)
        if not is_month:
            sink.reject("documents", "no such month", *origin, row)
        elif row["year"] < FIRST_YEAR:
            sink.reject("documents", f"tagged before {FIRST_YEAR}", *origin, row)
    return chunk.filter(good)
