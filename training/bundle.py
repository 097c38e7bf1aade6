"""Bundle: everything a server needs of a training run, in one folder that is whole or not there.

A folder of plain files (safetensors, Parquet, JSON) with a manifest of their hashes: the trained
model, its encoder, snapshots of the catalogue as of the data's end, figures. Nothing in it is code.
`load_bundle` refuses a folder that is damaged or of another format; `Bundle.check` refuses a
feature service that is not the one the model was trained on. `packing.py` writes it.
"""

# Shapes: I items, U users, N neighbours

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
from feast import FeatureStore
from pydantic import BaseModel, ConfigDict, ValidationError

from feature_repo.pipelines.tables import Instant
from training.arrays import map_safetensors
from training.calibration import Calibration
from training.channel_state import State, restored
from training.config import TrainingConfig
from training.encode import Encoder
from training.events import Ids, Ints
from training.item_views import ItemViews
from training.join import ViewRows
from training.model import FusionModel
from training.neighbours import Neighbours
from training.queries import Ragged
from training.registry import read_schema
from training.schema import FeatureSchema
from training.served import KINDS, Served

FORMAT_VERSION = 2
BUNDLE = "bundle"
EVALUATED = "evaluated"
"""In a run's folder the bundle that the report is about, where the one to be served has learnt from
the test period as well."""
MANIFEST = "manifest.json"
SERVED = "served.json"
CHANNELS = "channels.safetensors"


class Manifest(BaseModel):
    """What the bundle is and which bytes it consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    created_at: Instant
    as_of: Instant
    """The end of the data: snapshots hold what was known then."""
    dataset: str
    dataset_fingerprint: str
    """Hash of dataset.json."""
    service: str
    schema_fingerprint: str
    encoder_fingerprint: str
    files: dict[str, str]
    """SHA-256 of each other file, by its path in the bundle."""


class ChannelRecord(BaseModel):
    """A channel but for its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    settings: dict[str, Any]


class ServedRecord(BaseModel):
    """`Served` but for its channels' arrays, which are called after the channel's place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: list[list[float]]
    """As `Served.weights_NK`."""
    steps: tuple[int, ...]
    channels: list[ChannelRecord]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What each user had met by the data's end."""

    user_ids: list[str]
    """[U]"""
    starts: Ints
    """[U + 1]: user u's items are items[starts[u] : starts[u + 1]]."""
    items: Ints
    """Places in the catalogue, each once a user, in order."""

    def items_of(self, user: int) -> Ints:
        """Places of the items that the user in this place has met."""
        return self.items[self.starts[user] : self.starts[user + 1]]

    @classmethod
    def of_pairs(cls, user_ids: Ids, user_index: Ints, item_index: Ints, num_items: int) -> Seen:
        """From (user, item) pairs in any order, repeated or not."""
        pairs = np.unique(user_index.astype(np.int64) * num_items + item_index)
        counts = np.bincount(pairs // num_items, minlength=len(user_ids))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls([str(user) for user in user_ids], starts, pairs % num_items)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A trained model with all it needs to answer."""

    manifest: Manifest
    config: TrainingConfig
    encoder: Encoder
    model: FusionModel
    """In eval mode, on the CPU."""
    items: pa.Table
    """[I]: item_id, title, category, categories, creator, available_at_us, sorted by item_id."""
    item_views: Mapping[str, ViewRows]
    """By item view: its newest rows at `as_of`, and for each item [I] the number of its row. Out of
    a folder they are read when they are asked for, and not kept."""
    neighbours: Neighbours
    seen: Seen
    taken: Ragged
    """[U]: places of the items that each of `seen.user_ids` took up, oldest first, a repeated one
    repeatedly."""
    served: Served
    """What is added to the model's logit, and by which weights."""
    calibration: Calibration
    metrics: dict[str, Any]

    @property
    def schema(self) -> FeatureSchema:
        return self.encoder.feature_schema

    @property
    def as_of(self) -> datetime:
        return self.manifest.as_of

    @property
    def version(self) -> str:
        """Short id, the same for the same bytes."""
        return hashlib.sha256(self.manifest.model_dump_json().encode()).hexdigest()[:8]

    def check(self, store: FeatureStore) -> None:
        """Raise ValueError if the registry's service is not the one the model was trained on."""
        there = read_schema(store, self.manifest.service).fingerprint()
        if there != self.manifest.schema_fingerprint:
            raise ValueError(
                f"the bundle was trained on feature service '{self.manifest.service}' with "
                f"fingerprint {self.manifest.schema_fingerprint}, but the registry's has {there}: "
                "its views, fields or tags have changed. Restore them and run `feast apply`, or "
                "train again: `python -m training.train`"
            )


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest, by its path in the folder."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != MANIFEST:
            with file.open("rb") as content:
                found[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def load_bundle(path: Path) -> Bundle:
    """Read a bundle. ValueError says what is damaged or does not fit, and what to do."""
    path = Path(path)
    manifest = read_manifest(path)
    check_files(path, manifest)
    encoder = Encoder.from_json((path / "encoder.json").read_text())
    check_encoder(path, manifest, encoder)
    config = TrainingConfig.model_validate_json((path / "config.json").read_text())
    model = FusionModel(encoder.feature_schema, encoder.vocabulary_sizes, config.model).eval()
    model.load_state_dict(safetensors.torch.load_file(path / "model.safetensors"))
    arrays = map_safetensors(path / "arrays.safetensors")
    items = pq.read_table(path / "items.parquet")
    users = pq.read_table(path / "users.parquet").column("user_id").to_pylist()
    calibration = (path / "calibration.json").read_text()
    return Bundle(
        manifest=manifest,
        config=config,
        encoder=encoder,
        model=model,
        items=items,
        item_views=ItemViews(
            path, [view.name for view in encoder.feature_schema.item_views], items.num_rows
        ),
        neighbours=Neighbours(arrays["neighbours.ids"], arrays["neighbours.scores"]),
        seen=Seen(users, arrays["seen.starts"], arrays["seen.items"]),
        taken=Ragged(arrays["taken.items"], arrays["taken.starts"], arrays["taken.ends"]),
        served=read_served(path),
        calibration=Calibration.model_validate_json(calibration),
        metrics=json.loads((path / "metrics.json").read_text()),
    )


def read_manifest(path: Path) -> Manifest:
    """The manifest, of this format's version."""
    if not (path / MANIFEST).is_file():
        raise ValueError(
            f"{path} is not a bundle (it has no {MANIFEST}); make one with "
            "`python -m training.train --out runs/NAME`, which writes runs/NAME/bundle"
        )
    try:
        content = json.loads((path / MANIFEST).read_text())
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(
                f"bundle {path} has format version {version}, this code reads {FORMAT_VERSION}; "
                "train again with `python -m training.train`, or use the code that wrote it"
            )
        return Manifest.model_validate(content)
    except (json.JSONDecodeError, ValidationError, AttributeError) as error:
        raise ValueError(f"{path / MANIFEST} cannot be read: {error}; {AGAIN}") from error


AGAIN = "copy the bundle again, or make it again with `python -m training.train`"


def check_files(path: Path, manifest: Manifest) -> None:
    """Every file is there and is the one that was written."""
    found = hashes(path)
    for name, digest in manifest.files.items():
        if name not in found:
            raise ValueError(f"bundle {path} lacks its file '{name}'; {AGAIN}")
        if found[name] != digest:
            raise ValueError(
                f"file '{name}' of bundle {path} has SHA-256 {found[name][:16]}..., the manifest "
                f"says {digest[:16]}...; {AGAIN}"
            )


def check_encoder(path: Path, manifest: Manifest, encoder: Encoder) -> None:
    """The encoder and the schema in it are those the manifest names."""
    schema = encoder.feature_schema
    for what, there, stated in (
        ("encoder", encoder.fingerprint(), manifest.encoder_fingerprint),
        (f"feature service '{schema.service}'", schema.fingerprint(), manifest.schema_fingerprint),
    ):
        if there != stated:
            raise ValueError(
                f"the {what} in bundle {path} has fingerprint {there}, but the model was trained "
                f"with {stated}; {AGAIN}"
            )


def read_served(path: Path) -> Served:
    """The weights and the channels, from their settings and arrays."""
    record = ServedRecord.model_validate_json((path / SERVED).read_text())
    arrays = map_safetensors(path / CHANNELS)
    unknown = [own.name for own in record.channels if own.name not in KINDS]
    if unknown:
        raise ValueError(
            f"bundle {path} has the channels {', '.join(unknown)}, which this code lacks; use the "
            "code that wrote it, or train again with `python -m training.train`"
        )
    states = [
        State(parts(arrays, f"{place}."), own.settings) for place, own in enumerate(record.channels)
    ]
    return Served(
        np.array(record.weights),
        record.steps,
        tuple(
            restored(KINDS[own.name], state)
            for own, state in zip(record.channels, states, strict=True)
        ),
    )


def parts(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin so, by the rest of their names."""
    found = {name: array for name, array in arrays.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): array for name, array in found.items()}
