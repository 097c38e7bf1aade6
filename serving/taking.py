"""Taking: what the feature store says of all items at an instant, ready to be encoded.

In: the item views of a bundle's feature service, from the offline store, and rows pushed since.
Out: `Taken`. The newest row of each item counts, as in the point-in-time join of training at that
instant; a row older than its view's ttl is none. Items that the bundle lacks are added at the end.
"""

# Shapes: I items, R rows of a view

import argparse
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView
from tqdm import tqdm

from serving.catalogue import COLUMNS
from serving.clock import microseconds
from serving.item_pushes import ItemPush, PushReader, pushes_beside
from serving.item_rows import Instants
from serving.rollout import bundle_folder
from serving.snapshot_files import Taken, snapshots_of, write_snapshot
from training.bundle import Bundle, load_bundle
from training.command import exit_status
from training.join import NO_ROW, ViewRows, all_null
from training.plain_rows import ARROW_TYPES
from training.rows import BEGINNING
from training.schema import ViewSpec

KEY, AT = "item_id", "event_timestamp"
Rows = npt.NDArray[np.int64]


def take(
    bundle: Bundle, store: FeatureStore, at: datetime, pushes: Iterable[ItemPush] = ()
) -> Taken:
    """Read every item view as it was strictly before the instant `at`.

    ValueError names the view that cannot be read.
    """
    views = bundle.schema.item_views
    pushed = [push for push in pushes if push.at_us < microseconds(at)]
    tables = {
        view.name: newest(
            read_view(store, view, at), [push for push in pushed if push.view == view.name], view
        )
        for view in tqdm(views, desc="reading item views", unit="view")
    }
    known = bundle.items.column(KEY).combine_chunks().cast(pa.large_string())
    item_ids = all_items(known, [table.column(KEY) for table in tables.values()])
    rows = {name: rows_of(item_ids, table) for name, table in tables.items()}
    return Taken(
        as_of=at,
        items=described(bundle.items, item_ids, tables, rows),
        views={
            view.name: ViewRows(
                tables[view.name].select([field.name for field in view.inputs]), rows[view.name]
            )
            for view in views
        },
        written_at_us={name: instants(table)[rows[name]] for name, table in tables.items()},
    )


def read_view(store: FeatureStore, view: ViewSpec, at: datetime) -> pa.Table:
    """The newest row [R] of each item, with all fields that the registry has, `KEY` and `AT`."""
    registered = store.get_feature_view(view.name)
    source = registered.batch_source
    in_source = {feature: column for column, feature in source.field_mapping.items()}
    names = [field.name for field in registered.features]
    try:
        job = store.provider.offline_store.pull_latest_from_table_or_query(
            config=store.config,
            data_source=source,
            join_key_columns=[in_source.get(view.join_key, view.join_key)],
            feature_name_columns=[in_source.get(name, name) for name in names],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column or None,
            start_date=oldest(registered, at),
            end_date=at - timedelta(microseconds=1),
        )
        table = job.to_arrow()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(
            f"item view '{view.name}' cannot be read from its source '{source.name}': {error}; "
            "write the source's rows, or correct its path and run `feast apply`"
        ) from error
    wanted = [view.join_key, *names]
    columns = [table.column(in_source.get(name, name)) for name in wanted]
    at_us = pc.cast(table.column(source.timestamp_field), pa.timestamp("us", "UTC"), safe=False)
    table = pa.table([*columns, pc.cast(at_us, pa.int64())], [KEY, *names, AT])
    return plain_instants(table.filter(pc.is_valid(table.column(KEY))))


def oldest(view: FeatureView, at: datetime) -> datetime:
    """The first instant of which a row still counts."""
    return at - view.ttl if view.ttl else BEGINNING


def plain_instants(table: pa.Table) -> pa.Table:
    """Timestamps as microseconds since 1970, ids as strings: as pushed rows have them."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_timestamp(field.type):
            unit = pa.timestamp("us", field.type.tz)
            column = pc.cast(pc.cast(column, unit, safe=False), pa.int64())
        elif field.name == KEY:
            column = pc.cast(column, pa.large_string())
        table = table.set_column(place, field.name, column)
    return table


def newest(table: pa.Table, pushed: Sequence[ItemPush], view: ViewSpec) -> pa.Table:
    """The rows of the source and the pushed ones, of each item the latest; without those that say
    nothing."""
    if pushed:
        table = pa.concat_tables(
            [table, pushed_table(pushed, view)], promote_options="permissive"
        ).combine_chunks()
        order = np.argsort(instants(table)[:-1], kind="stable")  # of one instant, what was pushed
        codes = table.column(KEY).combine_chunks().dictionary_encode().indices.to_numpy()
        last = np.full(int(codes.max(initial=-1)) + 1, NO_ROW)
        last[codes[order]] = order
        table = table.take(pa.array(np.sort(last)))
    inputs = table.select([field.name for field in view.inputs])
    blank = [all_null(batch) for batch in inputs.to_batches()]
    return table.filter(pa.array(~np.concatenate([np.empty(0, np.bool_), *blank])))


def pushed_table(pushed: Sequence[ItemPush], view: ViewSpec) -> pa.Table:
    """Pushed rows as a table; fields that the model does not read are texts, or left out."""
    types = {field.name: ARROW_TYPES[field.kind] for field in view.inputs}
    types |= {field.name: pa.string() for field in view.of_kind("text")}
    columns = {
        name: pa.array([push.row.get(name) for push in pushed], kind, from_pandas=True)
        for name, kind in types.items()
    }
    columns[KEY] = pa.array([push.item_id for push in pushed], pa.large_string())
    return pa.table({**columns, AT: pa.array([push.at_us for push in pushed], pa.int64())})


def instants(table: pa.Table) -> Instants:
    """Event times [R + 1]; the last is for row -1."""
    return np.append(table.column(AT).to_numpy(), -1)


def all_items(known: pa.Array, others: Iterable[pa.ChunkedArray]) -> pa.Array:
    """Ids [I]: those that are known, in their order, then the others by name."""
    found = pa.chunked_array([chunk for column in others for chunk in column.chunks], known.type)
    new = pc.unique(found.filter(pc.invert(pc.is_in(found, value_set=known))))
    return pa.concat_arrays([known, new.take(pc.sort_indices(new))])


def rows_of(item_ids: pa.Array, table: pa.Table) -> Rows:
    """The row of each item [I], -1 where it has none."""
    found = pc.index_in(item_ids, value_set=table.column(KEY).combine_chunks())
    return np.asarray(pc.fill_null(found, NO_ROW)).astype(np.int64)


def described(
    items: pa.Table, item_ids: pa.Array, tables: Mapping[str, pa.Table], rows: Mapping[str, Rows]
) -> pa.Table:
    """What people are shown of the items [I]: fields called like the columns of a catalogue, from
    the first view that has one, else what the bundle has."""
    place = pc.index_in(item_ids, value_set=items.column(KEY).combine_chunks().cast(item_ids.type))
    columns = {KEY: item_ids}
    for name in COLUMNS[1:]:
        kind = items.schema.field(name).type
        column = items.column(name).combine_chunks().take(place)
        for view, table in tables.items():
            if name in table.column_names:
                index = pa.array(rows[view], mask=rows[view] < 0)
                own = table.column(name).combine_chunks().take(index)
                column = pc.coalesce(own.cast(kind), column)
                break
        columns[name] = column
    columns["title"] = pc.coalesce(columns["title"], item_ids.cast(columns["title"].type))
    # An item of which nobody says since when it is there has been there always.
    columns["available_at_us"] = pc.fill_null(columns["available_at_us"], 0)
    return pa.table(columns)


def take_snapshot(bundle_path: Path, repo: Path, at: datetime, pushes: Path) -> Path:
    """Take a snapshot and make it the one that servers of the bundle use; returns its folder."""
    path = bundle_folder(bundle_path)
    bundle, store = load_bundle(path), FeatureStore(repo_path=str(repo))
    bundle.check(store)
    taken = take(bundle, store, at, PushReader(pushes).new())
    written = write_snapshot(bundle, taken, snapshots_of(path))
    num_new = taken.items.num_rows - bundle.items.num_rows
    print(f"{taken.items.num_rows} items, {num_new} of them unknown to the bundle -> {written}")
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m serving.snapshot`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.snapshot",
        description="Read the item views from the feature store's offline source, encode them with "
        "the bundle's encoder, and hand them to the running replicas, which switch to them within "
        "seconds. New items come in; a run that is cut short leaves the snapshot before in place.",
    )
    add = parser.add_argument
    add(
        "--bundle",
        type=Path,
        required=True,
        help="runs/NAME/bundle, or a pointer such as runs/live",
    )
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    add(
        "--pushes", type=Path, help="rows pushed to the servers (item_pushes.jsonl beside --bundle)"
    )
    add("--at", type=instant_of, help="ISO instant with its zone, as of which (now)")
    given = parser.parse_args(arguments)
    at, pushes = given.at or datetime.now(UTC), given.pushes or pushes_beside(given.bundle)
    return exit_status(lambda: take_snapshot(given.bundle, given.repo, at, pushes))


def instant_of(text: str) -> datetime:
    """An ISO instant; without a zone it could be any."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no zone; write {text}+00:00 for UTC")
    return at.astimezone(UTC)
