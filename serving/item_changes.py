"""Item changes: what becomes of a snapshot while it is in use.

In: rows of item views that were pushed, and what people did. Out: the same snapshot, of which the
next answer is made. What is found by an index of vectors is found by the old ones until the next
snapshot; what is ranked is ranked by the new.
"""

from collections.abc import Sequence

import numpy as np
import torch

from serving.event_log import Event
from serving.feedback import updated_activity
from serving.item_columns import counters, embeddings
from serving.item_pushes import ItemPush
from serving.snapshot import Snapshot
from training.plain_rows import Row

COUNTED = "item_popularity"
"""The item view that feedback changes; see `serving.feedback.UPDATES`."""


def take_in(snapshot: Snapshot, push: ItemPush) -> bool:
    """Take in a row of an item view. False where it changes nothing: it is older than what is
    there, or of an item or a view that this snapshot lacks. An item comes with the next one.

    ValueError where the row cannot be encoded.
    """
    position, rows = snapshot.position.get(push.item_id), snapshot.views.get(push.view)
    if position is None or rows is None:
        return False
    if not rows.put(snapshot.bundle.encoder, {position: (push.at_us, push.row)}):
        return False
    snapshot.catalogue.change(position, push.row)
    snapshot.available_at_us[position] = snapshot.catalogue.since_us(position)
    normalise(snapshot, push.view, position)
    if rows.view.of_kind("counter"):
        one = counters(snapshot.bundle.schema, snapshot.views, [position])
        snapshot.popularity.put(position, float(one.values[0]), int(one.valued_at_us[0]))
    return True


def count(snapshot: Snapshot, events: Sequence[Event]) -> None:
    """Count what people did: what is trending, and the row that the model reads of each item.

    Items that this snapshot lacks are passed over. A row that the snapshot was taken with holds
    what came before its time; the bundle's channels know what came before the end of its data.
    """
    rows, new = snapshot.views.get(COUNTED), dict[int, tuple[int, Row]]()
    for event in events:
        position = snapshot.position.get(event.item_id)
        if position is None:
            continue
        if rows is not None and rows.dated and event.at_us <= rows.written_at_us[position]:
            for channel in snapshot.popularity.followers:
                channel.add(position, event.at_us)
            continue
        snapshot.popularity.add(position, event.at_us)
        if rows is not None:
            # The row keeps its time: an event that comes later may have happened before this one.
            at_us = int(rows.written_at_us[position])
            row = new[position][1] if position in new else rows.row(position) or {}
            new[position] = at_us, updated_activity(row, event)
    if rows is not None:
        rows.put(snapshot.bundle.encoder, new)


def normalise(snapshot: Snapshot, view: str, position: int) -> None:
    """Bring the text vector of an item into line with its row, where it is another array."""
    if snapshot.vectors is None:
        return
    own, spec = embeddings(snapshot.bundle.schema)[0]
    raw = snapshot.views[own.name].columns[f"embedding:{spec.name}"]
    if own.name == view and not np.may_share_memory(snapshot.vectors, raw.numpy()):
        snapshot.vectors[position] = torch.nn.functional.normalize(raw[position], dim=0).numpy()
