"""What the application says of one item or one user when asked directly, and which there are."""

import math

import numpy as np

from serving.api import (
    Context,
    Examples,
    ExampleUser,
    ItemResponse,
    TakeUp,
    UserResponse,
)
from serving.clock import instant
from serving.ranker import SlateRanker
from serving.snapshot import Snapshot
from training.plain_rows import Row

NUM_EXAMPLES = 6
MAX_CATEGORIES = 50
MAX_LIST = 20  # entries shown of a long list; vectors are cut to their first numbers


def describe_item(snapshot: Snapshot, item_id: str, at_us: int) -> ItemResponse:
    """An item of the catalogue. Raises UnknownItemError."""
    position = snapshot.place(item_id)
    rank = snapshot.popularity.rank(position)
    rows = {view: own.row(position) for view, own in snapshot.views.items()}
    return ItemResponse(
        item_id=item_id,
        title=snapshot.titles[position],
        category=snapshot.category[position],
        categories=sorted(snapshot.categories[position]),
        keywords=[t for t in snapshot.terms[position] if t not in snapshot.categories[position]],
        popularity_rank=rank if rank >= 0 else None,
        features={view: shown(row) for view, row in rows.items() if row is not None},
    )


def describe_user(ranker: SlateRanker, user_id: str, rows: dict[str, Row]) -> UserResponse:
    """What the online store has of a user; an unknown one is no error."""
    user = ranker.users.read(user_id, Context(), ranker.clock.now_us(), rows=rows)
    snapshot = ranker.snapshot
    entries = zip(user.history, user.actions, user.taken_at_us, strict=True)
    taken = [
        TakeUp(
            item_id=item_id,
            title=snapshot.titles[snapshot.position[item_id]],
            action=action,
            at=None if at_us is None else instant(at_us),
        )
        for item_id, action, at_us in entries
        if item_id in snapshot.position
    ]
    return UserResponse(
        user_id=user_id,
        known_user=user.known,
        missing_sources=list(user.missing_sources),
        history=[one.title for one in taken],
        taken=taken,
        features={view: shown(row) for view, row in user.rows.items()},
    )


def examples_of(snapshot: Snapshot) -> Examples:
    """Users with long histories and with short ones, and what the catalogue has."""
    seen = snapshot.bundle.seen
    counts = np.diff(seen.starts)
    order = np.argsort(-counts, kind="stable")
    places = np.linspace(0, len(order) - 1, min(NUM_EXAMPLES, len(order)), dtype=int)
    sizes = snapshot.catalogue.category_sizes()
    return Examples(
        users=[
            ExampleUser(user_id=seen.user_ids[user], num_items=int(counts[user]))
            for user in order[places].tolist()
        ],
        categories=sorted(sizes, key=lambda name: (-sizes[name], name))[:MAX_CATEGORIES],
    )


def shown(row: dict[str, object]) -> dict[str, object]:
    """Values as JSON has them: long lists cut short, no NaN."""
    return {name: _shown(value) for name, value in row.items()}


def _shown(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_shown(entry) for entry in value[:MAX_LIST]]
    return value
