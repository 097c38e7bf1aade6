"""What an encoder learns from training rows: names, lengths, dimensions.

In: a schema and, by view, Arrow tables of training-period rows. Out: vocabularies, the length of
sequences and embeddings. Only `Encoder.fit` calls this.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from training.columns import Lists, name_lists, name_values, read, vector_lists
from training.schema import FeatureSchema, FieldSpec, Kind, ViewSpec
from training.vocabulary import Vocabulary


def fields_of_kind(schema: FeatureSchema, kind: Kind) -> Iterator[tuple[str, ViewSpec, FieldSpec]]:
    """Yield ("view.field", view, field) for all fields of one kind."""
    for view in schema.views:
        for field in view.of_kind(kind):
            yield f"{view.name}.{field.name}", view, field


def count_names(
    schema: FeatureSchema,
    rows: Mapping[str, pa.Table],
    min_count: int,
    max_size: int,
    given: tuple[str, ...],
) -> dict[str, Vocabulary]:
    """The vocabularies the fields name, counted over all fields that share one.

    Vocabularies named in `given` come from elsewhere and are not counted.
    """
    columns: dict[str, list[pa.Array]] = {}
    for _, view, field in fields_of_kind(schema, "categorical"):
        values = read(name_values, view, field, rows[view.name])
        columns.setdefault(str(field.vocabulary), []).append(values)
    for _, view, field in fields_of_kind(schema, "sequence"):
        if field.vocabulary not in given:
            values = read(name_lists, view, field, rows[view.name]).values
            columns.setdefault(str(field.vocabulary), []).append(values)
    return {
        name: Vocabulary.count(values, min_count, max_size)
        for name, values in columns.items()
        if name not in given
    }


def longest(lists: Lists, at_most: int) -> int:
    """The longest list's length, between 1 and `at_most`."""
    return int(np.clip(lists.lengths.max(initial=0), 1, at_most))


def embedding_dims(view: ViewSpec, field: FieldSpec, table: pa.Table) -> int:
    """Length of the vectors in training rows, which must be one; 0 where there is no vector."""
    lengths = read(vector_lists, view, field, table).lengths
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return 0
    dims = field.dims or int(lengths[0])
    check_dims(f"{view.name}.{field.name}", lengths, dims)
    return dims


def check_dims(path: str, lengths: npt.NDArray[np.int64], dims: int) -> None:
    """ValueError when a vector is not `dims` long."""
    wrong = lengths[lengths != dims]
    if len(wrong):
        raise ValueError(
            f"embedding '{path}' has {dims} dimensions, but {len(wrong)} of {len(lengths)} rows "
            f"have others (the first {wrong[0]}); build the features again with one encoder, "
            "and after a change of encoder train again"
        )


def with_dims(schema: FeatureSchema, dims: Mapping[str, int]) -> FeatureSchema:
    """The schema with the found length in every embedding; one where none was found."""
    views = []
    for view in schema.views:
        fields = tuple(
            field.model_copy(update={"dims": max(1, dims[f"{view.name}.{field.name}"])})
            if field.kind == "embedding"
            else field
            for field in view.fields
        )
        views.append(view.model_copy(update={"fields": fields}))
    return schema.model_copy(update={"views": tuple(views)})
