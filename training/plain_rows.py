"""Rows of plain values, as the online store and pushes give them, as the tables of `encode.py`.

In: Python values by field. Out: an Arrow table with one type a kind, so that an online row is
encoded like a Parquet row.
"""

from collections.abc import Sequence

import pyarrow as pa

from training.schema import ViewSpec

Row = dict[str, object]

# One value of each kind.
ARROW_TYPES: dict[str, pa.DataType] = {
    "categorical": pa.string(),
    "numeric": pa.float64(),
    "counter": pa.float64(),
    "clock": pa.int64(),
    "time": pa.int64(),
    "sequence": pa.list_(pa.string()),
    "embedding": pa.list_(pa.float32()),
}


def one_row(view: ViewSpec, row: Row) -> pa.Table:
    """A row of the online store as the Arrow table that the encoder reads."""
    return as_table(view, [row])


def as_table(view: ViewSpec, rows: Sequence[Row]) -> pa.Table:
    """The same of several rows. ValueError where a value is not of its field's kind."""
    arrays = {}
    for spec in view.inputs:
        values = [_plain(row.get(spec.name)) for row in rows]
        try:
            arrays[spec.name] = pa.array(values, ARROW_TYPES[spec.kind], from_pandas=True)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ValueError(f"field '{spec.name}' of view '{view.name}': {error}") from error
    return pa.table(arrays)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | set) else value
