"""Models trained again with fewer sources, kept in the run's folder so that none is trained twice.

In: a bundle's configuration and the data it was trained on, labels and an encoder. Out: for each
choice of sources a model from these labels, encoder, configuration and seed, and how many epochs
were best for it. Trains in this process, one model after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from feast import FeatureStore
from safetensors import safe_open

from training.arrays import scratch
from training.bundle import Bundle
from training.dataset import TrainingData
from training.encode import Encoder
from training.encoded import encode_labels
from training.events import Events, SplitName
from training.labels import Labels
from training.loop import ModelSpec
from training.model import FusionModel
from training.prepare import join_labels
from training.schema import FeatureSchema
from training.workers import fit


@dataclass(frozen=True)
class Again:
    """A model that was trained again."""

    model: FusionModel
    best_epoch: int


class Retrained:
    """Trains on demand; labels are drawn and joined once, and only if a model is missing."""

    def __init__(
        self,
        bundle: Bundle,
        encoder: Encoder,
        store: FeatureStore,
        events: Events,
        draw: Callable[[], dict[SplitName, Labels]],
        folder: Path,
    ) -> None:
        """`draw` makes the labels to learn from; `events` are those that the encoder knows."""
        self.bundle, self.encoder, self.store = bundle, encoder, store
        self.events, self.draw, self.folder = events, draw, folder

    def models(
        self, choices: dict[str, FeatureSchema], epochs: Mapping[str, int] | None = None
    ) -> dict[str, Again]:
        """By name, a model for each schema: after as many epochs as are best on validation, or as
        many as are given."""
        found = {name: self.kept(name, schema) for name, schema in choices.items()}
        missing = [name for name, own in found.items() if own is None]
        if missing:
            with scratch(self.folder / "encoded") as encoded:
                data = self.data(encoded)
                for number, name in enumerate(missing, start=1):
                    print(f"train {name} ({number} of {len(missing)})", flush=True)
                    settled = epochs[name] if epochs is not None else None
                    found[name] = self.train(name, choices[name], data, settled)
        return {name: own for name, own in found.items() if own is not None}

    def kept(self, name: str, schema: FeatureSchema) -> Again | None:
        """The model of an earlier command, if it belongs to this bundle."""
        if not self.path(name).is_file():
            return None
        with safe_open(self.path(name), "pt") as file:
            told = dict(file.metadata())
        best_epoch = int(told.pop("best_epoch", 0))
        if told != self.stamp():
            return None
        model = self.spec(schema).build(self.bundle.config.run.seed).eval()
        model.load_state_dict(safetensors.torch.load_file(self.path(name)))
        return Again(model, best_epoch)

    def train(
        self, name: str, schema: FeatureSchema, data: TrainingData, epochs: int | None
    ) -> Again:
        """Train, and keep the model for the next time."""
        run = self.bundle.config.run.model_copy(update={"workers": 0})
        if epochs is not None:
            run = run.model_copy(update={"epochs": epochs, "patience": epochs})
        fitted = fit(self.spec(schema), data, run, self.folder, name, epochs is not None)
        again = Again(fitted.model, fitted.best_epoch if epochs is None else epochs)
        weights = {key: tensor.contiguous() for key, tensor in again.model.state_dict().items()}
        building = self.path(name).with_suffix(".building")
        told = {**self.stamp(), "best_epoch": str(again.best_epoch)}
        safetensors.torch.save_file(weights, building, told)
        building.rename(self.path(name))
        return again

    def data(self, folder: Path) -> TrainingData:
        """The labels with the features they see; see `training.stages.encode`."""
        labels = self.draw()
        joined = join_labels(self.store, self.bundle.schema, self.events, labels)
        return encode_labels(self.encoder, self.events, labels, joined, folder)

    def spec(self, schema: FeatureSchema) -> ModelSpec:
        return ModelSpec(schema, self.encoder.vocabulary_sizes, self.bundle.config.model)

    def path(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.safetensors"

    def stamp(self) -> dict[str, str]:
        """What fixes a model beside its name: that bundle's data, inputs and configuration."""
        return {
            "dataset": self.bundle.manifest.dataset_fingerprint,
            "encoder": self.encoder.fingerprint(),
            "config": self.bundle.config.model_dump_json(),
        }


def choices(schema: FeatureSchema, kinds: Sequence[str]) -> dict[str, FeatureSchema]:
    """Schemas by name: `without X` and `only X` of each source, as `kinds` asks for."""
    chosen: dict[str, FeatureSchema] = {}
    if "without" in kinds:
        chosen |= {f"without {source}": schema.without(source) for source in schema.sources}
    if "only" in kinds:
        for source in schema.sources:
            kept = tuple(view for view in schema.views if view.source == source)
            chosen[f"only {source}"] = schema.model_copy(update={"views": kept})
    return chosen
