"""Snapshots on disk: the item side in files that all replicas of a machine map and share.

In: newer rows of a bundle's item views (serving/taking.py). Out: a folder, whole or not there, and
a pointer to it; from both a `Snapshot`. It lies beside the bundle whose encoder made it and serves
no other.
"""

# Shapes: I items

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from feature_repo.pipelines.tables import Instant
from serving.item_rows import Instants, ItemRows, shown_values
from serving.pointer import durable, only_writer, switch, target
from serving.snapshot import Snapshot
from training.arrays import ArrayFile, map_arrays, write_array, write_index
from training.bundle import Bundle
from training.join import ViewRows

FORMAT_VERSION = 1
MANIFEST = "snapshot.json"
ROWS_AT_ONCE = 16_384  # encoded together; 25 MB where they hold an embedding of 384
UNFINISHED = ".unfinished-"
AGAIN = "`python -m serving.snapshot --bundle {bundle} --repo feature_repo` takes another"


class SnapshotManifest(BaseModel):
    """Which bundle the files are for, and as of when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    bundle: str
    """`Bundle.version`: its encoder made the tensors, its catalogue comes first."""
    encoder_fingerprint: str
    as_of: Instant
    num_items: int


@dataclass(frozen=True)
class Taken:
    """What the feature store says of items at an instant."""

    as_of: datetime
    items: pa.Table
    """[I], as `Catalogue` takes it: the bundle's items in its order, then others."""
    views: Mapping[str, ViewRows]
    """By item view; `rows` are [I]."""
    written_at_us: Mapping[str, Instants]
    """By item view: event time of each item's row [I], -1 where there is none."""


def snapshots_of(bundle_path: Path) -> Path:
    """The folder with a bundle's snapshots: `bundle.snapshots` beside `bundle`."""
    return bundle_path.with_name(f"{bundle_path.name}.snapshots")


def write_snapshot(bundle: Bundle, taken: Taken, folder: Path) -> Path:
    """Write a snapshot, and make it the current one of `folder`; returns its own folder.

    What a writer that died left behind goes first. The one before stays for who still reads it.
    """
    with only_writer(folder):
        for left in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        path = folder / f"{taken.as_of:%Y%m%dT%H%M%S.%f}"
        if path.exists():
            raise ValueError(f"{path} exists: there is a snapshot as of {taken.as_of} already")
        building = folder / f"{UNFINISHED}{path.name}"
        write_files(bundle, taken, building)
        for file in (*building.rglob("*"), building):
            durable(file)
        building.rename(path)
        switch(folder, path)
        kept = {path, target(folder, "previous")}
        for old in folder.glob("[0-9]*"):
            if old not in kept:
                shutil.rmtree(old)
    return path


def write_files(bundle: Bundle, taken: Taken, folder: Path) -> None:
    """Everything in a snapshot's folder."""
    arrays = folder / "arrays"
    arrays.mkdir(parents=True)
    write_table(taken.items, folder / "items.arrow")
    num, tree = taken.items.num_rows, {}
    views = bundle.schema.item_views
    with tqdm(total=num * len(views), desc="encoding rows", unit="row") as progress:
        for view in views:
            found = taken.views[view.name]
            write_table(shown_values(view, found), folder / f"{view.name}.arrow")
            there = [found.rows >= 0]
            tree[view.name] = {
                **encoded_files(bundle, view.name, found, arrays, progress.update),
                "present": write_array(arrays, (num,), np.bool_, there),
                "written_at_us": write_array(
                    arrays, (num,), np.int64, [taken.written_at_us[view.name]]
                ),
            }
    write_index(arrays, tree)
    manifest = SnapshotManifest(
        format_version=FORMAT_VERSION,
        bundle=bundle.version,
        encoder_fingerprint=bundle.manifest.encoder_fingerprint,
        as_of=taken.as_of,
        num_items=num,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def encoded_files(
    bundle: Bundle, view: str, found: ViewRows, folder: Path, told: Callable[[int], object]
) -> dict[str, ArrayFile]:
    """The encoded rows [I], a slice at a time; zeros where an item has none."""
    shapes = bundle.encoder.encode(view, found.features.slice(0, 0))
    files = {
        f"column:{name}": ArrayFile(folder, (len(found.rows), *none.shape[1:]), none.numpy().dtype)
        for name, none in shapes.items()
    }
    for start in range(0, len(found.rows), ROWS_AT_ONCE):
        rows = found.rows[start : start + ROWS_AT_ONCE]
        slice_ = found.features.take(pa.array(rows, mask=rows < 0))
        for name, column in bundle.encoder.encode(view, slice_).items():
            column[torch.from_numpy(rows < 0)] = 0
            files[f"column:{name}"].append(column.numpy())
        told(len(rows))
    return files


def write_table(table: pa.Table, path: Path) -> None:
    """In one batch, uncompressed, so that a reader maps it without a copy."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for batch in whole(table):
            writer.write_batch(batch)


def whole(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The table as one batch; no batch where it has no rows."""
    yield from table.combine_chunks().to_batches()


def map_table(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def read_manifest(path: Path) -> SnapshotManifest:
    try:
        return SnapshotManifest.model_validate_json((path / MANIFEST).read_text())
    except (OSError, ValidationError) as error:
        raise ValueError(f"snapshot {path} cannot be read: {error}") from error


def open_snapshot(bundle: Bundle, path: Path) -> Snapshot:
    """Map a snapshot; ValueError where it was not made for this bundle, or is damaged."""
    manifest = read_manifest(path)
    if (manifest.format_version, manifest.bundle) != (FORMAT_VERSION, bundle.version):
        raise ValueError(
            f"snapshot {path} was made for bundle {manifest.bundle} with encoder "
            f"{manifest.encoder_fingerprint} in format {manifest.format_version}; the bundle to "
            f"be served is {bundle.version} with encoder {bundle.manifest.encoder_fingerprint}, "
            f"the format {FORMAT_VERSION}; {AGAIN.format(bundle=path.parent.with_suffix(''))}"
        )
    tree = map_arrays(path / "arrays", mode="c")  # a pushed row is written to a copy of its page
    views = {}
    for view in bundle.schema.item_views:
        arrays = tree[view.name]
        columns = {
            name.removeprefix("column:"): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith("column:")
        }
        present = torch.from_numpy(arrays["present"])
        values = map_table(path / f"{view.name}.arrow")
        views[view.name] = ItemRows(view, columns, present, arrays["written_at_us"], values)
    return Snapshot.of(bundle, map_table(path / "items.arrow"), views, path.name)
