"""Channels in files: what scoring reads of a fitted channel, as plain arrays, and back.

In: a channel whose class says by `kept` which attributes scoring reads, and of what kind each is.
Out: named arrays and settings, from which `restored` makes the same channel without what it was
fitted on. Nothing in them is code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BaseModel

from training.baselines import Ints, Scores
from training.queries import Queries

Kinds = Mapping[str, type]
PARTS = ("data", "indices", "indptr", "shape")  # of a sparse matrix


class Kept(Protocol):
    """Something that the attributes in `kept` rebuild."""

    kept: ClassVar[Kinds]
    """Attribute -> ndarray, csr_matrix, a pydantic model, a plain type, or another `Kept`. Any
    may be None."""


class Channel(Kept, Protocol):
    """A scorer that a bundle can hold and that says what it lives on."""

    name: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources without any one of which the channel has nothing to say."""
        ...

    def score(self, queries: Queries, rows: Ints) -> Scores:
        """As `Scorer.score`; a user with the number -1 is one that training did not know."""
        ...


Thing = TypeVar("Thing")


@dataclass
class State:
    """A fitted thing as arrays and plain values."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def state_of(thing: Kept, prefix: str = "") -> State:
    """The attributes that `kept` names."""
    state = State()
    for name, kind in thing.kept.items():
        value, key = getattr(thing, name), f"{prefix}{name}"
        if value is None:
            continue
        if kind is np.ndarray:
            state.arrays[key] = np.ascontiguousarray(value)
        elif kind is sp.csr_matrix:
            matrix = sp.csr_matrix(value)
            state.arrays |= {f"{key}.{part}": np.asarray(getattr(matrix, part)) for part in PARTS}
        elif issubclass(kind, BaseModel):
            state.settings[key] = value.model_dump(mode="json")
        elif hasattr(kind, "kept"):
            inner = state_of(value, f"{key}.")
            state.arrays |= inner.arrays
            state.settings |= inner.settings
        else:
            state.settings[key] = value
    return state


def restored(kind: type[Thing], state: State, prefix: str = "") -> Thing:
    """The thing that `state_of` was given, as far as `kept` goes."""
    thing = object.__new__(kind)
    kinds: Kinds = kind.kept  # type: ignore[attr-defined]
    for name, own in kinds.items():
        setattr(thing, name, value_of(own, state, f"{prefix}{name}"))
    return thing


def grown(thing: Thing, num_items: int) -> Thing:
    """The same with more items, about which it has learnt nothing.

    Axes of items are those called I in the names of `kept` (`terms_IG`): they end in zeros then.
    Arrays are copied; of a sparse matrix only its row pointers are.
    """
    larger, kinds = object.__new__(type(thing)), thing.kept  # type: ignore[attr-defined]
    for name in kinds:  # and nothing that it has worked out of them: that was of fewer items
        value, axes = getattr(thing, name), name.rpartition("_")[2]
        if "I" in axes and isinstance(value, np.ndarray | sp.csr_matrix):
            sizes = zip(axes, value.shape, strict=True)
            shape = tuple(num_items if axis == "I" else size for axis, size in sizes)
            value = with_zeros(value, shape)
        setattr(larger, name, value)
    return larger


def with_zeros(
    value: NDArray[Any] | sp.csr_matrix, shape: tuple[int, ...]
) -> NDArray[Any] | sp.csr_matrix:
    """Zeros behind the end of every axis, up to the shape."""
    if isinstance(value, np.ndarray):
        larger = np.zeros(shape, value.dtype)
        larger[tuple(slice(size) for size in value.shape)] = value
        return larger
    ends = np.full(shape[0] - value.shape[0], value.indptr[-1], value.indptr.dtype)
    return sp.csr_matrix(
        (value.data, value.indices, np.append(value.indptr, ends)), (shape[0], shape[1])
    )


def value_of(kind: type, state: State, key: str) -> Any:
    """One attribute; None where the state has none."""
    if kind is np.ndarray:
        return state.arrays.get(key)
    if kind is sp.csr_matrix:
        if f"{key}.shape" not in state.arrays:
            return None
        data, indices, indptr, shape = (state.arrays[f"{key}.{part}"] for part in PARTS)
        return sp.csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()))
    if issubclass(kind, BaseModel):
        return kind.model_validate(state.settings[key]) if key in state.settings else None
    if hasattr(kind, "kept"):
        return restored(kind, state, f"{key}.")
    return state.settings.get(key)
