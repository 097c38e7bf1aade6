"""MovieLens as CSV files: latest-small, latest, 20M, 25M, 32M (grouplens.org/datasets/movielens).

`movies.csv` gives items with genres, `ratings.csv` events exact to the second, `tags.csv` (where it
is there) documents. Users are whoever rates or tags. Memory stays bounded at any size.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.pipelines.delimited import cast_column, read_delimited, require_file
from feature_repo.pipelines.raw import RawInfo, RawSink

LIKED_FROM = 3.5  # stars; the scale is 0.5 to 5 and its mean about 3.5
NO_GENRES = "(no genres listed)"
EARLIEST_YEAR = 1970  # older films were all there before anybody rated


def read(source: Path | None, sink: RawSink, options: Mapping[str, object]) -> RawInfo:
    """Read the folder `source` with movies.csv, ratings.csv and perhaps tags.csv. No options."""
    movies = require_file(source, "movies.csv")
    ratings = require_file(source, "ratings.csv")
    for chunk in read_delimited(movies, ["movieId", "title", "genres"], sink, "items"):
        sink.write("items", _to_items(chunk))
    columns = ["userId", "movieId", "rating", "timestamp"]
    for chunk in read_delimited(ratings, columns, sink, "interactions"):
        sink.write("interactions", _to_ratings(chunk, sink))
    tags = movies.with_name("tags.csv")
    if tags.is_file():
        columns = ["userId", "movieId", "tag", "timestamp"]
        for chunk in read_delimited(tags, columns, sink, "documents", may_be_empty=True):
            sink.write("documents", _to_tags(chunk, sink))
    else:
        sink.note("There is no tags.csv: the text source has titles and genres only.")
    sink.note(f"A rating of {LIKED_FROM} stars or more is a take-up.")
    sink.note("A film is available from 1 January of the year in its title, not before 1970.")
    return RawInfo(
        source_text=f"MovieLens, folder {movies.parent.name}; research use, see its README",
        time_resolution="exact",
        value_bounds={"rate": (0.5, 5.0)},
    )


def _to_items(chunk: pa.Table) -> pa.Table:
    genres = pc.if_else(pc.equal(chunk["genres"], NO_GENRES), "", chunk["genres"])
    year = pc.struct_field(pc.extract_regex(chunk["title"], r"\((?P<year>\d{4})\)\s*$"), "year")
    recent = pc.max_element_wise(year.cast(pa.int32()), EARLIEST_YEAR, skip_nulls=False)
    released = pc.binary_join_element_wise(recent.cast(pa.string()), "-01-01", "")
    return pa.table(
        {
            "item_id": chunk["movieId"],
            "title": upright(chunk["title"]),
            "categories": pc.split_pattern(genres, "|"),
            "available_at": released,
            "source_file": chunk["source_file"],
            "line": chunk["line"],
        }
    )


def upright(titles: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Titles as people say them: "Departed, The (2006)" is filed, not named, so.

    >>> upright(pa.array(["Departed, The (2006)", "Heat (1995)"])).to_pylist()
    ['The Departed (2006)', 'Heat (1995)']
    """
    articles = "The|A|An|La|Le|Les|Il|El|Der|Die|Das"
    return pc.replace_substring_regex(titles, rf"^([^(]+), ({articles})( \(|$)", r"\2 \1\3")


def _to_ratings(chunk: pa.Table, sink: RawSink) -> pa.Table:
    chunk = cast_column(chunk, "timestamp", pa.int64(), sink, "interactions")
    chunk = cast_column(chunk, "rating", pa.float64(), sink, "interactions")
    return pa.table(
        {
            "user_id": chunk["userId"],
            "item_id": chunk["movieId"],
            "action": pa.repeat("rate", len(chunk)),
            "value": chunk["rating"],
            "timestamp": chunk["timestamp"],  # seconds since 1970
            "is_positive": pc.greater_equal(chunk["rating"], LIKED_FROM),
            "source_file": chunk["source_file"],
            "line": chunk["line"],
        }
    )


def _to_tags(chunk: pa.Table, sink: RawSink) -> pa.Table:
    chunk = cast_column(chunk, "timestamp", pa.int64(), sink, "documents")
    return pa.table(
        {
            "user_id": chunk["userId"],
            "item_id": chunk["movieId"],
            "kind": pa.repeat("tag", len(chunk)),
            "text": chunk["tag"],
            "timestamp": chunk["timestamp"],
            "source_file": chunk["source_file"],
            "line": chunk["line"],
        }
    )
