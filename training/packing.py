"""Packing: a training run's outcome becomes a bundle, in one move.

In: the trained model, its encoder, snapshots of the catalogue, the run's reports. Out: the folder
that `bundle.py` reads. It is built beside its place and renamed into it when it is whole.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors.numpy
import safetensors.torch

from training.bundle import (
    CHANNELS,
    FORMAT_VERSION,
    MANIFEST,
    SERVED,
    ChannelRecord,
    Manifest,
    Seen,
    ServedRecord,
    hashes,
)
from training.calibration import Calibration
from training.channel_state import state_of
from training.config import TrainingConfig
from training.encode import Encoder
from training.events import Ids
from training.join import ViewRows
from training.model import FusionModel
from training.neighbours import Neighbours
from training.queries import Ragged
from training.served import Served

REPORTS = ("metrics.json", "report.html")  # made by the run, carried along


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a training run puts into a bundle."""

    as_of: datetime
    dataset: str
    dataset_fingerprint: str
    config: TrainingConfig
    encoder: Encoder
    model: FusionModel
    items: pa.Table
    item_views: dict[str, ViewRows]
    neighbours: Neighbours
    seen: Seen
    taken: Ragged
    """Of all users, see `Bundle.taken`."""
    served: Served
    calibration: Calibration
    card: str
    """The model card, Markdown."""


def write_bundle(contents: Contents, path: Path, reports: Path) -> Path:
    """Write a bundle to the folder `path`, replacing an older one in one move; returns `path`.

    `reports` is the run's folder, which holds metrics.json and report.html.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.{os.getpid()}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir()
        write_files(contents, building, reports)
        write_manifest(contents, building)
        move_into_place(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return path


def write_files(contents: Contents, folder: Path, reports: Path) -> None:
    """Everything but the manifest.

    Arrays are written as bytes: `save_file` lets nobody but the trainer's user read them.
    """
    (folder / "config.json").write_text(contents.config.model_dump_json(indent=2) + "\n")
    (folder / "encoder.json").write_text(contents.encoder.to_json())
    (folder / "calibration.json").write_text(contents.calibration.model_dump_json() + "\n")
    (folder / "MODEL_CARD.md").write_text(contents.card, encoding="utf-8")
    weights = {k: v.contiguous() for k, v in contents.model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(weights))
    arrays = {
        "neighbours.ids": contents.neighbours.ids,
        "neighbours.scores": contents.neighbours.scores,
        "seen.starts": contents.seen.starts,
        "seen.items": contents.seen.items,
        "taken.items": contents.taken.values,
        "taken.starts": contents.taken.start,
        "taken.ends": contents.taken.end,
    }
    (folder / "arrays.safetensors").write_bytes(safetensors.numpy.save(arrays))
    write_served(contents.served, folder)
    pq.write_table(pa.table({"user_id": contents.seen.user_ids}), folder / "users.parquet")
    pq.write_table(contents.items, folder / "items.parquet")
    (folder / "item_views").mkdir()
    for name, view in contents.item_views.items():
        there = np.flatnonzero(view.rows >= 0)
        rows = view.features.take(view.rows[there]).append_column(
            "item_place", pa.array(there, pa.int64())
        )
        pq.write_table(rows, folder / "item_views" / f"{name}.parquet")
    for name in REPORTS:
        shutil.copyfile(reports / name, folder / name)


def write_served(served: Served, folder: Path) -> None:
    """The weights and the channels, as settings and arrays."""
    states = [state_of(channel) for channel in served.channels]
    record = ServedRecord(
        weights=served.weights_NK.tolist(),
        steps=served.steps,
        channels=[
            ChannelRecord(name=channel.name, settings=state.settings)
            for channel, state in zip(served.channels, states, strict=True)
        ],
    )
    (folder / SERVED).write_text(record.model_dump_json(indent=2) + "\n")
    arrays = {
        f"{place}.{name}": array
        for place, state in enumerate(states)
        for name, array in state.arrays.items()
    }
    (folder / CHANNELS).write_bytes(safetensors.numpy.save(arrays))


def write_manifest(contents: Contents, folder: Path) -> None:
    schema = contents.encoder.feature_schema
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        created_at=datetime.now(UTC).replace(microsecond=0),
        as_of=contents.as_of,
        dataset=contents.dataset,
        dataset_fingerprint=contents.dataset_fingerprint,
        service=schema.service,
        schema_fingerprint=schema.fingerprint(),
        encoder_fingerprint=contents.encoder.fingerprint(),
        files=hashes(folder),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def move_into_place(building: Path, path: Path) -> None:
    """Put the finished folder where it belongs; an older bundle is there until that moment."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        path.rename(old)
    building.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def read_items(items_path: Path, item_ids: Ids) -> pa.Table:
    """What a bundle keeps of the table of items, in the order of `item_ids`."""
    table = pq.read_table(items_path).sort_by("item_id")
    assert table.column("item_id").to_pylist() == list(item_ids), (
        "items are not those of the events"
    )
    available = pc.cast(
        pc.cast(table.column("available_at"), pa.timestamp("us", "UTC")), pa.int64()
    )
    kept = ["item_id", "title", "category", "categories", "creator"]
    return table.select(kept).append_column("available_at_us", available).combine_chunks()
