"""Joined labels become files: each feature row that somebody sees is encoded once.

In: labels, the feature rows they see by number, a fitted encoder. Out: TrainingData over files that
every worker maps. Features are read and encoded a slice at a time, so that memory holds a slice and
a number for each feature row, however wide the rows are.
"""

# Shapes: n labels, P candidates in the pool (the positive first), R feature rows

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from training.arrays import ArrayFile, write_array, write_index
from training.dataset import Numbers, TrainingData
from training.encode import Encoder
from training.events import Events, Ints, SplitName
from training.join import NO_ROW, Rows
from training.labels import Labels
from training.prepare import Joined

ROWS_AT_ONCE = 16_384  # feature rows a slice; 180 MB where they hold an embedding of 384
CELLS_AT_ONCE = 4_000_000  # label times candidate


def encode_labels(
    encoder: Encoder,
    events: Events,
    labels: Mapping[SplitName, Labels],
    joined: Joined,
    folder: Path,
) -> TrainingData:
    """Write the labels and each feature row that one of them sees to `folder`, which is empty."""
    views, places = {}, {}
    for name, features in joined.features.items():
        sides = [*joined.users.values(), *joined.items.values()]
        used = used_rows(features.num_rows, [side[name] for side in sides if name in side])
        views[name] = write_view(folder, encoder, name, features, used)
        # Where a feature row lies among the encoded ones; the last is for row -1.
        places[name] = np.full(features.num_rows + 1, NO_ROW, np.int32)
        places[name][used] = np.arange(len(used), dtype=np.int32)
    # Number of an item in the encoder's vocabulary; the last is for a place without a candidate.
    numbers = np.append(encoder.item_numbers(events.item_ids), 0).astype(np.int32)
    examples = {
        split: write_examples(
            folder, own, joined.users[split], joined.items[split], places, numbers
        )
        for split, own in labels.items()
    }
    write_index(folder, {"views": views, "examples": examples})
    return TrainingData.open(folder)


def used_rows(num_rows: int, joined: Iterable[Rows]) -> Ints:
    """The feature rows that somebody sees, in their order."""
    seen = np.zeros(num_rows + 1, np.bool_)  # the last is for row -1
    for rows in joined:
        for part in slices(rows.shape):
            seen[rows[part]] = True
    return np.flatnonzero(seen[:-1])


def write_view(
    folder: Path, encoder: Encoder, name: str, features: pa.Table, used: Ints
) -> dict[str, ArrayFile]:
    """Encode the rows `used` of a view, a slice at a time; a file for each kind of column."""
    files = {
        key: ArrayFile(folder, (len(used), *none.shape[1:]), none.numpy().dtype)
        for key, none in encoder.encode(name, features.slice(0, 0)).items()
    }
    start = 0
    for batch in features.to_batches(max_chunksize=ROWS_AT_ONCE):
        end = start + batch.num_rows
        chosen = used[slice(*np.searchsorted(used, (start, end)))] - start
        if len(chosen):
            # From a batch: taking from a table of many chunks would first make one of them all.
            rows = pa.Table.from_batches([batch.take(pa.array(chosen))])
            for key, column in encoder.encode(name, rows).items():
                files[key].append(column.numpy())
        start = end
    return files


def write_examples(
    folder: Path,
    labels: Labels,
    users: Mapping[str, Rows],
    items: Mapping[str, Rows],
    places: Mapping[str, Numbers],
    numbers: Numbers,
) -> dict[str, Any]:
    """The fields of one split's `Examples`."""
    index, mask, shape = labels.item_index, labels.mask, labels.item_index.shape
    num, parts = shape[:1], list(slices(shape))
    return {
        "at_us": write_array(folder, num, np.int64, [labels.at_us]),
        "user_rows": {
            name: write_array(folder, num, np.int32, [places[name][rows]])
            for name, rows in users.items()
        },
        "item_rows": {
            name: write_array(
                folder,
                shape,
                np.int32,
                (np.where(mask[part], places[name][rows[part]], NO_ROW) for part in parts),
            )
            for name, rows in items.items()
        },
        "item_ids": write_array(folder, shape, np.int32, (numbers[index[part]] for part in parts)),
        "log_q": write_array(folder, shape, np.float32, [labels.log_q]),
        "mask": write_array(folder, shape, np.bool_, [mask]),
        "outcomes": {
            name: write_array(folder, num, np.float32, [outcome])
            for name, outcome in labels.outcomes.items()
        },
    }


def slices(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of an array, so many at a time that their cells are bounded."""
    size = max(1, CELLS_AT_ONCE // max(1, int(np.prod(shape[1:]))))
    return (slice(start, start + size) for start in range(0, shape[0], size))
