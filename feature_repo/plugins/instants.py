"""Times of any Arrow type as integers, so that comparing them needs no time zone.

In: a column of timestamps, dates or ISO text. Out: int64 microseconds since 1970, or nanoseconds
where a column really uses them. A time without a zone is UTC, as everywhere in Feast.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Unit = Literal["us", "ns"]
_NS_PER_US = 1000
_LAST_US_IN_NS = np.iinfo(np.int64).max // _NS_PER_US


@dataclass(frozen=True)
class Instants:
    """A column of instants: int64 counts of `unit` since 1970-01-01 UTC, nulls kept."""

    counts: pa.Array
    unit: Unit

    def in_unit(self, unit: Unit) -> pa.Array:
        """The counts in `unit`, never coarser than our own.

        Microseconds that nanoseconds cannot hold (before 1678, after 2261) are moved to the edge.
        """
        if unit == self.unit:
            return self.counts
        assert unit == "ns", "an instant is never rounded to a coarser unit"
        kept = pc.max_element_wise(
            pc.min_element_wise(self.counts, _LAST_US_IN_NS, skip_nulls=False),
            -_LAST_US_IN_NS,
            skip_nulls=False,
        )
        return pc.multiply(kept, _NS_PER_US)


def read_instants(column: pa.ChunkedArray, what: str) -> Instants:
    """Instants of a column; `what` names it in the error if it holds no times."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_null(values.type):
        return Instants(values.cast(pa.int64()), "us")
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = _parse_text(values, what)
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(values.type):
        raise ValueError(f"{what} holds {values.type}, not times; convert it to timestamps")
    if values.type.unit != "ns":
        return Instants(values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64()), "us")
    counts = values.cast(pa.int64())
    in_us = pc.divide(counts, _NS_PER_US)
    # pandas writes nanoseconds whatever the clock's resolution; most columns lose nothing.
    if pc.all(pc.equal(pc.multiply(in_us, _NS_PER_US), counts), min_count=0).as_py():
        return Instants(in_us, "us")
    return Instants(counts, "ns")


def finest(*columns: Instants) -> Unit:
    """The unit in which all of the columns are exact."""
    return "ns" if any(column.unit == "ns" for column in columns) else "us"


def in_units(span: timedelta | None, unit: Unit) -> int | None:
    """A span of time as a count of units; None stays None."""
    if span is None:
        return None
    return (span // timedelta(microseconds=1)) * (_NS_PER_US if unit == "ns" else 1)


def _parse_text(values: pa.Array, what: str) -> pa.Array:
    try:
        return pa.array(pd.to_datetime(values.to_pandas(), utc=True, format="ISO8601"))
    except ValueError as error:
        raise ValueError(f"{what} holds text that is no ISO 8601 time: {error}") from error
