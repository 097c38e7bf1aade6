"""The planted cases: a few rows and labels each, and what goes wrong where a store fails one.

In: the shape of a view. Out: Cases in the oracle's terms: keys are small numbers, one a join key,
times are microseconds after an arbitrary start. Knows nothing of Feast, files or data types.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from feature_repo.plugins.doctor.views import Shape
from feature_repo.plugins.oracle import Label, Row

SECOND = 10**6
HOUR = 3600 * SECOND
MONTH = 30 * 24 * HOUR


@dataclass(frozen=True)
class Case:
    """What to plant and how to ask. The oracle says what each label must see."""

    name: str
    harm: str
    """One sentence: what happens to a user whose store fails it."""
    rows: tuple[Row, ...]
    labels: tuple[Label, ...]
    created_cutoff: bool = False
    """Asked with filter_by_created_timestamp."""
    as_sql: bool = False
    """Asked with the entity frame as SQL; a store may openly refuse."""
    mapped_key: bool = False
    """Asked with a join-key map on the first of several keys."""
    in_order: bool = False
    """It is worth knowing if the labels come back in another order."""
    past_broadcast: bool = False
    """Asked with the view taken for one too big to broadcast (Feast's Ray store)."""

    @property
    def may_be_refused(self) -> bool:
        """An error here loses nothing silently: the store does not offer what was asked."""
        return self.as_sql or self.created_cutoff


def cases_of(shape: Shape) -> list[Case]:
    """Every case that makes sense for a view of this shape."""
    return [
        *_about_labels(shape),
        *_about_time(shape),
        *(_about_ttl(shape) if shape.ttl_us else ()),
        *(_about_created(shape) if shape.created_column else ()),
        *(_about_keys(shape) if shape.keys else ()),
    ]


def names_case(shape: Shape) -> Case:
    """One row, one label: does every feature of a view come back under its name?"""
    ann, age = _key(shape, 1), _age(shape)
    return Case(
        "every feature comes back",
        "Features with such names or types cannot be trained on.",
        (Row(ann, 0, 0),),
        (Label(ann, age),),
    )


def together_case(shape: Shape, other: Shape) -> tuple[Case, Case]:
    """Labels that share this shape's keys and instant and differ in the other's.

    The same labels seen from each side; keys that only one side has are left out of the other.
    """
    name = "together with a view of other keys"
    harm = "Of labels that differ only in the other view's keys all but one vanish (feast#5590)."
    age = min(_age(shape), _age(other))
    ours, theirs = (_key(shape, 1),) * 2, tuple(_beside(other, shape, n) for n in (1, 2))
    return (
        Case(name, harm, (Row(ours[0], 0, 0),), tuple(Label(key, age) for key in ours)),
        Case(
            name,
            harm,
            tuple(Row(key, 0, 0) for key in theirs),
            tuple(Label(key, age) for key in theirs),
        ),
    )


def _about_labels(shape: Shape) -> Iterator[Case]:
    ann, age = _key(shape, 1), _age(shape)
    seen = (Row(ann, 0, 0),)
    yield Case(
        "labels of one key and instant",
        "A slate's impressions share user and time: all but one vanish (feast#6787).",
        seen,
        (Label(ann, age),) * 3,
    )
    yield Case(
        "labels in any order",
        "Labels come back in another order: attach nothing to them by position.",
        (Row(ann, 0, 0), Row(ann, age // 2, age // 2)),
        tuple(Label(ann, at) for at in (age, age // 4, age // 2, age // 3)),
        in_order=True,
    )
    yield Case(
        "entity frame as SQL",
        "Labels must fit in memory as a data frame.",
        seen,
        (Label(ann, age), Label(ann, age - 1)),
        as_sql=True,
    )


def _about_time(shape: Shape) -> Iterator[Case]:
    ann, age = _key(shape, 1), _age(shape)
    # Out of order in the file, as appended data is.
    rows = (Row(ann, 3 * age, 3 * age), Row(ann, 2 * age, 2 * age))
    yield Case(
        "rows from after the label",
        "The model is trained on the future: good offline, bad in production.",
        rows,
        tuple(Label(ann, at) for at in (3 * age - SECOND, 2 * age + SECOND)),
    )
    yield Case(
        "a row from later in the same second",
        "Instants are cut to seconds: what happened a moment later leaks.",
        (Row(ann, 0, 0), Row(ann, age + 6 * SECOND // 10, age + 6 * SECOND // 10)),
        (Label(ann, age + 2 * SECOND // 10),),
    )
    yield Case(
        "only rows from after the label",
        "The first impressions of every user and item vanish from training, or see the future.",
        rows,
        tuple(Label(ann, at) for at in (2 * age - SECOND, age)),
    )
    yield Case(
        "a row of the label's own instant",
        "Feast counts a row as known at its own instant; here it is not seen until later.",
        rows,
        tuple(Label(ann, at) for at in (2 * age, 3 * age)),
    )
    gap = min(MONTH, shape.ttl_us or MONTH)
    far = ((Row(ann, 0, 0),), (Label(ann, gap),) * 3)
    yield Case(
        "a row from long before the label",
        "Users who are not there every hour look new.",
        (Row(ann, 0, 0),),
        (Label(ann, gap),),
    )
    yield Case(
        "the same, view too big to broadcast",
        "Once the view outgrows broadcast_join_threshold_mb, values older than the join's "
        "window are missed.",
        *far,
        past_broadcast=True,
    )


def _about_ttl(shape: Shape) -> Iterator[Case]:
    ann, bob, ttl = _key(shape, 1), _key(shape, 2), shape.ttl_us
    assert ttl is not None
    yield Case(
        "only expired rows",
        "Users who were away vanish from training, or are shown with values that have expired.",
        (Row(ann, 0, 0),),
        (Label(ann, ttl + SECOND), Label(ann, ttl + HOUR)),
    )
    yield Case(
        "a row exactly as old as the ttl",
        "The ttl is shorter than it says.",
        (Row(ann, 0, 0), Row(bob, 0, 0)),
        (Label(ann, ttl), Label(bob, ttl - SECOND)),
    )


def _about_created(shape: Shape) -> Iterator[Case]:
    ann, bob, age = _key(shape, 1), _key(shape, 2), _age(shape)
    yield Case(
        "corrected row of one instant",
        "A correction is ignored: the value it replaced is trained on.",
        (Row(ann, 0, age // 2), Row(ann, 0, age // 4)),
        (Label(ann, age),),
    )
    yield Case(
        "only what was created by then",
        "Late and back-filled rows leak, although filter_by_created_timestamp was asked for.",
        (
            Row(ann, 0, 0),
            Row(ann, age // 2, 2 * age),  # of before the label, written after it
            Row(bob, age // 2, age // 2),
            Row(bob, age // 4, 3 * age // 4),  # late, and older than what was known
        ),
        (Label(ann, age), Label(bob, age), Label(bob, age // 3)),
        created_cutoff=True,
    )


def _about_keys(shape: Shape) -> Iterator[Case]:
    ann, bob, age = _key(shape, 1), _key(shape, 2), _age(shape)
    yield Case(
        "a key without rows",
        "New users and items vanish from training: no cold start is ever learned.",
        (Row(ann, 0, 0),),
        (Label(ann, age), Label(bob, age)),
    )
    nobody = (None, *ann[1:])
    yield Case(
        "a label without key",
        "Anonymous traffic vanishes from training.",
        (Row(ann, 0, 0),),
        (Label(ann, age), Label(nobody, age)),
    )
    if len(shape.keys) > 1:
        rest = ann[2:]
        yield Case(
            "join-key map on one key of several",
            "The other keys are ignored: labels see values of other pairs.",
            # The newer row is of the same first key and another second one.
            (Row((1, 1, *rest), 0, 0), Row((1, 2, *rest), age // 2, age // 2)),
            (Label((1, 1, *rest), age), Label((1, 3, *rest), age)),
            mapped_key=True,
        )


def _key(shape: Shape, number: int) -> tuple[object, ...]:
    return (number,) * len(shape.keys)


def _beside(other: Shape, shape: Shape, number: int) -> tuple[object, ...]:
    """A key of `other`: 1 where `shape` has the same join key, else `number`."""
    return tuple(1 if name in shape.key_names else number for name in other.key_names)


def _age(shape: Shape) -> int:
    """An age that is well within the ttl, in microseconds."""
    return HOUR if shape.ttl_us is None else max(min(HOUR, shape.ttl_us // 2), SECOND)
