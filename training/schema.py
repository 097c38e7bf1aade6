"""What the model takes in: for each view its source and entity, for each field its kind.

`registry.py` reads a `FeatureSchema` from the Feast registry, `encode.py` turns the values of its
fields into tensors. Nothing here needs Feast, so that training workers do without it.
"""

import hashlib
import json
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

Kind = Literal[
    "categorical",
    "numeric",
    "counter",
    "embedding",
    "sequence",
    "text",
    "time",
    "clock",
    "ignore",
]
EntityName = Literal["user", "item"]

# The server shows these to people; the model does not read them.
NOT_FOR_THE_MODEL = ("text", "ignore")


class FieldSpec(BaseModel):
    """One feature and what it means to the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    half_life_days: PositiveFloat | None = None
    """Counters only: days in which the count halves."""
    clock: str | None = None
    """Counters only: the field of the same view that holds the instant the count is valued at."""
    vocabulary: str | None = None
    """Categorical and sequence only: fields that name the same vocabulary share its numbers."""
    dims: PositiveInt | None = None
    """Embeddings only: length of the vector; None until the registry or the encoder knows it."""
    logarithmic: bool = False
    """Numeric only: an integer, taken for a count and put through sign(x) * log(1 + |x|)."""


class ViewSpec(BaseModel):
    """One feature view of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    entity: EntityName
    join_key: str
    fields: tuple[FieldSpec, ...]

    @property
    def inputs(self) -> tuple[FieldSpec, ...]:
        """The fields the model reads: all but texts and ignored ones, in the view's order."""
        return tuple(field for field in self.fields if field.kind not in NOT_FOR_THE_MODEL)

    def of_kind(self, kind: Kind) -> tuple[FieldSpec, ...]:
        """The view's fields of one kind, in the view's order."""
        return tuple(field for field in self.fields if field.kind == kind)

    def field(self, name: str) -> FieldSpec:
        """The field of that name; ValueError names the fields there are."""
        for field in self.fields:
            if field.name == name:
                return field
        names = ", ".join(field.name for field in self.fields)
        raise ValueError(f"view '{self.name}' has no field '{name}' (has: {names})")


class FeatureSchema(BaseModel):
    """The views of one feature service, in the service's order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    views: tuple[ViewSpec, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, each once, in the order in which the views bring them."""
        return tuple(dict.fromkeys(view.source for view in self.views))

    @property
    def user_views(self) -> tuple[ViewSpec, ...]:
        return self.of_entity("user")

    @property
    def item_views(self) -> tuple[ViewSpec, ...]:
        return self.of_entity("item")

    def of_entity(self, entity: EntityName) -> tuple[ViewSpec, ...]:
        """The views of one entity, in the service's order."""
        return tuple(view for view in self.views if view.entity == entity)

    def view(self, name: str) -> ViewSpec:
        """The view of that name; ValueError names the views there are."""
        for view in self.views:
            if view.name == name:
                return view
        names = ", ".join(view.name for view in self.views)
        raise ValueError(f"service '{self.service}' has no view '{name}' (has: {names})")

    def without(self, source: str) -> Self:
        """The schema with one source's views left out, for ablations."""
        if source not in self.sources:
            has = ", ".join(self.sources)
            raise ValueError(f"service '{self.service}' has no source '{source}' (has: {has})")
        left = tuple(view for view in self.views if view.source != source)
        return self.model_copy(update={"views": left})

    def fingerprint(self) -> str:
        """Hash of all that fixes the model's inputs, the same in every process.

        Fields the model does not read are left out: adding one breaks no bundle. So is the length
        of embeddings, which the encoder finds in the data and checks at every call.
        """
        views = [
            view.model_dump(exclude={"fields"})
            | {"inputs": [field.model_dump(exclude={"dims"}) for field in view.inputs]}
            for view in self.views
        ]
        text = json.dumps({"service": self.service, "views": views}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
