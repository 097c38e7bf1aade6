"""Item columns: which of the encoded rows the snapshot reads itself, beside the model.

In: a schema and the rows of its item views. Out: text vectors and popularity counters by position.
"""

# Shapes: I items, E length of a text vector

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from serving.item_rows import ItemRows
from serving.popularity import Popularity, decayed_counters
from training.schema import FeatureSchema, FieldSpec, ViewSpec

COUNTERS = ("counter", "clock_us")
UNIT_TOLERANCE = 1e-3  # of a vector's length; below it cosines are right to three digits


def item_fields(
    schema: FeatureSchema, kind: str, vocabulary: str | None = None
) -> list[tuple[ViewSpec, FieldSpec]]:
    """Item-side fields of a kind, and each one's view."""
    return [
        (view, spec)
        for view in schema.item_views
        for spec in view.fields
        if spec.kind == kind and (vocabulary is None or spec.vocabulary == vocabulary)
    ]


def embeddings(schema: FeatureSchema) -> list[tuple[ViewSpec, FieldSpec]]:
    """Item-side embeddings, those first that a user's own are compared with: of one source."""
    own = {view.source for view in schema.user_views if view.of_kind("embedding")}
    return sorted(item_fields(schema, "embedding"), key=lambda found: found[0].source not in own)


def counters(
    schema: FeatureSchema, views: Mapping[str, ItemRows], places: Sequence[int] | None = None
) -> Popularity:
    """The popularity of all items, or of some."""
    index = slice(None) if places is None else torch.tensor(places)
    columns = {
        view: {name: column[index] for name, column in rows.columns.items() if name in COUNTERS}
        for view, rows in views.items()
    }
    present = {view: rows.present[index] for view, rows in views.items()}
    return decayed_counters(schema, columns, present, max(map(len, present.values()), default=0))


def unit_vectors(
    schema: FeatureSchema, views: Mapping[str, ItemRows]
) -> npt.NDArray[np.float32] | None:
    """The first of `embeddings`, each row of length one; zeros where an item has none.

    Vectors that have that length already are not copied: a million of them take a gigabyte.
    """
    for view, spec in embeddings(schema):
        rows = views[view.name]
        vectors = rows.columns[f"embedding:{spec.name}"]
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        is_unit = (lengths - 1).abs() <= UNIT_TOLERANCE
        if not (rows.present & ~is_unit).any() and not lengths[~rows.present].any():
            return vectors.numpy()
        vectors = vectors * rows.present[:, None]
        return torch.nn.functional.normalize(vectors, dim=1).numpy()
    return None
