"""Hand-made raw data: rows straight into a sink, and published data sets in miniature."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.pipelines.clean import TableCounts, clean
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.tables import quarantine_path, table_path

Row = dict[str, object]
SNAPSHOT_AT = datetime(2024, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    """A day of January 2023."""
    return datetime(2023, 1, number, tzinfo=UTC)


def event(user: object, item: object, at: object, **more: object) -> Row:
    return {"user_id": user, "item_id": item, "action": "play", "timestamp": at, **more}


def clean_rows(
    folder: Path, tables: Mapping[str, list[Row]], **info: object
) -> dict[str, TableCounts]:
    """Clean raw rows into `folder / "out"`. A table that is mentioned counts as given."""
    with RawSink(folder / "raw") as sink:
        for table, rows in tables.items():
            columns = list(dict.fromkeys(name for row in rows for name in row))
            values = {name: [row.get(name) for row in rows] for name in columns}
            sink.write(table, pa.table(values))
    facts = {"source_text": "by hand", "time_resolution": "exact", "snapshot_at": SNAPSHOT_AT}
    return clean(sink, RawInfo.model_validate(facts | info), folder / "out")


def table_rows(folder: Path, table: str) -> list[Row]:
    return pq.read_table(table_path(folder / "out", table)).to_pylist()


def reasons(folder: Path, table: str) -> list[str]:
    return pq.read_table(quarantine_path(folder / "out", table))["reason"].to_pylist()


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        as_bytes = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(as_bytes)
    return folder


MOVIELENS = {
    "movies.csv": (
        "movieId,title,genres\n"
        '1,"American President, The (1995)",Comedy|Drama\n'
        "2,Metropolis (1927),(no genres listed)\n"
        "3,Nameless,Drama\n"
    ),
    "ratings.csv": (
        "userId,movieId,rating,timestamp\n"
        + "".join(f"{user},1,4.0,{1_000_000_000 + user}\n" for user in range(1, 9))
        + "1,2,3.0,1000000100\n2,3,3.5,1000000200\n"
    ),
    "tags.csv": "userId,movieId,tag,timestamp\n1,1,funny,1000000300\n9,3,slow,1000000400\n",
}

LASTFM = {
    "artists.dat": (
        'id\tname\turl\tpictureURL\n1\tSigur Rós\tu\tp\n2\t"Quoted\tu\tp\n3\tNever\tu\tp\n'
    ),
    "user_artists.dat": "userID\tartistID\tweight\n1\t1\t100\n2\t2\t7\n",
    "user_friends.dat": "userID\tfriendID\n1\t2\n2\t1\n",
    "tags.dat": "tagID\ttagValue\n1\trock\n2\tmúsica\n".encode("iso-8859-1"),
    "user_taggedartists.dat": (
        "userID\tartistID\ttagID\tday\tmonth\tyear\n"
        "1\t1\t1\t1\t4\t2009\n"
        "1\t1\t2\t17\t4\t2009\n"
        "1\t1\t1\t1\t5\t2009\n"
        "2\t2\t1\t1\t6\t2009\n"
        "2\t1\t1\t1\t7\t2009\n"
        "2\t1\t2\t1\t1\t1956\n"
        "2\t9\t2\t1\t1\t2010\n"
    ),
}

BEAUTY = {
    "Beauty.txt": "1 1 2 3\n2 3 1\n3 2 1 3\n",
    "beauty_item_titles.csv": 'item_id,asin,title\n1,A,"Lacquer, red"\n2,B,\n3,C,Soap\n',
    "Beauty_item2attributes.json": '{"1": [5, 7], "2": [7], "3": []}',
}
