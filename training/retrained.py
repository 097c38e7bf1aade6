"""Models trained again with fewer sources, kept in the run's folder so that none is trained twice.

In: a bundle and the data it was trained on. Out: for each choice of sources a model from the same
labels, encoder, configuration and seed. Trains in this process, one model after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from feast import FeatureStore
from safetensors import safe_open

from training.arrays import scratch
from training.bundle import Bundle
from training.dataset import TrainingData
from training.encoded import encode_labels
from training.events import Events
from training.loop import ModelSpec
from training.model import FusionModel
from training.prepare import draw_labels, join_labels
from training.schema import FeatureSchema
from training.workers import fit


class Retrained:
    """Trains on demand; labels are drawn and joined once, and only if a model is missing."""

    def __init__(self, bundle: Bundle, store: FeatureStore, events: Events, folder: Path) -> None:
        self.bundle, self.store, self.events, self.folder = bundle, store, events, folder

    def models(self, choices: dict[str, FeatureSchema]) -> dict[str, FusionModel]:
        """By name, a model for each schema."""
        found = {name: self.kept(name, schema) for name, schema in choices.items()}
        missing = [name for name, model in found.items() if model is None]
        if missing:
            with scratch(self.folder / "encoded") as encoded:
                data = self.data(encoded)
                for number, name in enumerate(missing, start=1):
                    print(f"train {name} ({number} of {len(missing)})", flush=True)
                    found[name] = self.train(name, choices[name], data)
        return {name: model for name, model in found.items() if model is not None}

    def kept(self, name: str, schema: FeatureSchema) -> FusionModel | None:
        """The model of an earlier command, if it belongs to this bundle."""
        if not self.path(name).is_file():
            return None
        with safe_open(self.path(name), "pt") as file:
            if file.metadata() != self.stamp():
                return None
        model = self.spec(schema).build(self.bundle.config.run.seed).eval()
        model.load_state_dict(safetensors.torch.load_file(self.path(name)))
        return model

    def train(self, name: str, schema: FeatureSchema, data: TrainingData) -> FusionModel:
        """Train, and keep the model for the next time."""
        run = self.bundle.config.run.model_copy(update={"workers": 0})
        model = fit(self.spec(schema), data, run, self.folder, name).model
        weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
        building = self.path(name).with_suffix(".building")
        safetensors.torch.save_file(weights, building, self.stamp())
        building.rename(self.path(name))
        return model

    def data(self, folder: Path) -> TrainingData:
        """The bundle's labels with the features they see; see `training.train.prepare`."""
        labels = draw_labels(self.events, self.bundle.config.run)
        joined = join_labels(self.store, self.bundle.schema, self.events, labels)
        return encode_labels(self.bundle.encoder, self.events, labels, joined, folder)

    def spec(self, schema: FeatureSchema) -> ModelSpec:
        return ModelSpec(schema, self.bundle.encoder.vocabulary_sizes, self.bundle.config.model)

    def path(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.safetensors"

    def stamp(self) -> dict[str, str]:
        """What fixes a model beside its name: that bundle's data, inputs and configuration."""
        manifest = self.bundle.manifest
        return {
            "dataset": manifest.dataset_fingerprint,
            "encoder": manifest.encoder_fingerprint,
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
