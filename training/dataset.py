"""What workers share: encoded feature rows once a view, and per label the numbers of its rows.

In: files that `encoded.py` wrote, or arrays. Out: TrainingData, of which all processes of a machine
hold one copy, and Batches, which gathers rows by number on the device. A feature is never copied
per label.
"""

# Shapes: n labels, P candidates in the pool (the positive first), C candidates of a step,
#         R encoded feature rows, B labels of a batch

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.arrays import map_arrays
from training.events import SplitName
from training.projector import ViewBatch

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
ViewArrays = dict[str, npt.NDArray[np.generic]]
GPU_SHARE = 0.5  # of the free memory may go to feature rows; the rest is for activations


@dataclasses.dataclass(frozen=True)
class Examples:
    """The labels of one period, by number."""

    at_us: Ints
    """[n], microseconds since 1970."""
    user_rows: dict[str, Numbers]
    """[n] by view: the user's row, -1 for none."""
    item_rows: dict[str, Numbers]
    """[n, P] by view: each candidate's row, -1 for none."""
    item_ids: Numbers
    """[n, P]: candidates by their number in the encoder's item vocabulary, 0 for unknown ones."""
    log_q: npt.NDArray[np.float32]
    """[n, P]: log probability of each draw."""
    mask: npt.NDArray[np.bool_]
    """[n, P]: whether there is a candidate."""
    outcomes: dict[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    """[n] by outcome, as in `Labels`."""

    def __len__(self) -> int:
        return len(self.at_us)


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Everything a worker needs beside the model."""

    views: dict[str, ViewArrays]
    """Encoded rows of each view [R, ...], only those that a label sees."""
    examples: dict[SplitName, Examples]
    folder: Path | None = None
    """Where all of it lies in files, for other processes to open; None for arrays in memory."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """What `encode_labels` wrote, mapped and not read; ValueError where it is not all there."""
        tree = map_arrays(folder)
        examples = {split: Examples(**arrays) for split, arrays in tree["examples"].items()}
        return cls(tree["views"], examples, folder.absolute())

    @property
    def train(self) -> Examples:
        return self.examples["train"]

    @property
    def validation(self) -> Examples:
        return self.examples["validation"]

    @property
    def num_bytes(self) -> int:
        """Size of the encoded rows."""
        return sum(array.nbytes for view in self.views.values() for array in view.values())


@dataclasses.dataclass(frozen=True)
class Batch:
    """What the model's forward and the loss take."""

    users: dict[str, ViewBatch]
    items: dict[str, ViewBatch]
    item_ids: Tensor
    """int64 [B, C]"""
    log_q: Tensor
    """[B, C]"""
    mask: Tensor
    """bool [B, C]"""
    outcomes: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """[B] by outcome, as in `Labels`."""


class Batches:
    """Gathers batches from TrainingData onto a device, where the feature rows lie if they fit."""

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        self.data, self.device = data, device
        home = device if fits(data.num_bytes, device) else torch.device("cpu")
        self.columns = {
            name: {key: shared_tensor(array).to(home) for key, array in view.items()}
            for name, view in data.views.items()
        }

    def gather(self, examples: Examples, chosen: Ints, pool: Ints) -> Batch:
        """Labels `chosen` [B] with the candidates in the columns `pool` [C] of their pool."""
        at_us = torch.from_numpy(examples.at_us[chosen]).to(self.device)
        cell = np.ix_(chosen, pool)
        shape = (len(chosen), len(pool))
        item_at_us = at_us[:, None].expand(shape).flatten()
        return Batch(
            users={
                name: self.view(name, rows[chosen], at_us)
                for name, rows in examples.user_rows.items()
            },
            items={
                name: self.view(name, rows[cell].ravel(), item_at_us)
                for name, rows in examples.item_rows.items()
            },
            item_ids=torch.from_numpy(examples.item_ids[cell].astype(np.int64)).to(self.device),
            log_q=torch.from_numpy(examples.log_q[cell]).to(self.device),
            mask=torch.from_numpy(examples.mask[cell]).to(self.device),
            outcomes={
                name: torch.from_numpy(outcome[chosen]).to(self.device)
                for name, outcome in examples.outcomes.items()
            },
        )

    def view(self, name: str, rows: Numbers, at_us: Tensor) -> ViewBatch:
        """A view's rows, each once however many candidates share it."""
        columns = self.columns[name]
        home = next(iter(columns.values())).device
        rows_N = torch.from_numpy(rows.astype(np.int64)).to(home)
        distinct, place_N = torch.unique(rows_N.clamp(min=0), return_inverse=True)
        if not len(next(iter(columns.values()))):  # no row at all: rows_N is -1 throughout
            distinct = distinct[:0]
        return ViewBatch(
            columns={key: column[distinct].to(self.device) for key, column in columns.items()},
            rows=torch.where(rows_N < 0, -1, place_N).to(self.device),
            at_us=at_us,
        )

    def epoch(
        self, examples: Examples, batch_size: int, negatives: int, rng: np.random.Generator
    ) -> Iterator[tuple[Ints, Ints]]:
        """Shuffled labels of each step and the columns of their pool it uses."""
        order = rng.permutation(len(examples))
        width = examples.item_ids.shape[1]
        for start in range(0, len(order), batch_size):
            drawn = 1 + rng.permutation(width - 1)[:negatives]
            yield order[start : start + batch_size], np.concatenate([[0], drawn])


def fits(num_bytes: int, device: torch.device) -> bool:
    """Whether the feature rows may live on the device."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < GPU_SHARE * free


def shared_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """A tensor over the array's own memory."""
    with warnings.catch_warnings():
        # Mapped files are read-only, and so is Ray's object store; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
