"""Native: the packages that compiling.py made, with a model's own weights.

They fit every model of the same shapes, under the same torch and on the same kind of processor;
`open_native` refuses others. Whatever they do not take (several users, a single item) goes the
model's own way.
"""

# Shapes: K masks, S sources

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch._inductor import aoti_load_package

from training.encode import Encoder
from training.model import FusionModel
from training.projector import ViewBatch
from training.signature import Batches, Signature
from training.tokens import SideTokens

RECORD = "signature.json"


class Native:
    """The packages of a folder with a model's weights. A `Steps`."""

    def __init__(self, folder: Path, model: FusionModel, names: Signature) -> None:
        self._names = names
        # The packages only point to the weights, so these must not go before them.
        self._weights = {f"model.{name}": own for name, own in weights_of(model).items()}
        self._steps = {path.stem: self._loaded(path) for path in sorted(folder.glob("*.pt2"))}

    def user_tokens(self, batches: Batches) -> SideTokens | None:
        columns = self._names.user_columns.columns
        if batches.keys() != columns.keys() or not all(map(is_one_row, batches.values())):
            return None
        found = self._steps["user_tokens"](self._names.user_columns.flat(batches))
        return self._names.user.tokens(found)

    def finished(self, prepared: SideTokens, batches: Batches) -> SideTokens | None:
        columns = self._names.item_columns
        if columns is None or batches.keys() != columns.columns.keys() or len(prepared.present) < 2:
            return None
        return self._names.item.tokens(
            self._steps["finished"](self._names.flat_items(prepared, batches))
        )

    def score(self, user: SideTokens, item: SideTokens) -> Tensor | None:
        if not is_one_and_many(user, item):
            return None
        found: Tensor = self._steps["score"](self._names.flat_pair(user, item))[0]
        return found

    def score_masked(self, user: SideTokens, item: SideTokens, mask_KS: Tensor) -> Tensor | None:
        num_sources = mask_KS.shape[1]
        if not is_one_and_many(user, item) or len(mask_KS) != 2**num_sources:
            return None
        pair = self._names.flat_pair(user, item)
        found: Tensor = self._steps["score_masked"]([mask_KS, *pair])[0]
        return found

    def _loaded(self, path: Path) -> Callable[[list[Tensor]], list[Tensor]]:
        step: Any = aoti_load_package(str(path))
        own = {name: self._weights[name] for name in step.get_constant_fqns()}
        step.load_constants(own, check_full_update=True, user_managed=True)
        # Not `step` itself, which spends longer on taking apart and putting together what is flat
        # already than some steps take.
        run: Callable[[list[Tensor]], list[Tensor]] = step.loader.boxed_run
        return run


def open_native(folder: Path, model: FusionModel, encoder: Encoder) -> Native:
    """The packages, for this model and rows that this encoder makes. ValueError says why they do
    not fit, and what to do."""
    again = f"`python -m serving.compile --bundle BUNDLE --out {folder}` compiles them again"
    try:
        names = Signature.model_validate_json((folder / RECORD).read_text())
    except (OSError, ValidationError) as error:
        raise ValueError(f"{folder} holds no compiled steps: {error}; {again}") from error
    if names.fits != fingerprint(model, encoder):
        raise ValueError(
            f"the compiled steps in {folder} are for a model of other shapes, another torch than "
            f"{torch.__version__}, or another processor; {again}"
        )
    return Native(folder, model, names)


def fingerprint(model: FusionModel, encoder: Encoder) -> str:
    """Of all that the code of the packages depends on: it does not look whether tensors have the
    shapes that it was compiled for."""
    shapes = {name: list(own.shape) for name, own in weights_of(model).items()}
    lengths = dict(sorted(encoder.sequence_lengths.items()))
    processor = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    parts = [
        str(torch.__version__),
        processor,
        model.config.model_dump(mode="json"),
        shapes,
        lengths,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def weights_of(model: FusionModel) -> dict[str, Tensor]:
    """Parameters and buffers, also those that are not saved."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def is_one_row(batch: ViewBatch) -> bool:
    return len(batch.rows) == 1 == len(next(iter(batch.columns.values())))


def is_one_and_many(user: SideTokens, item: SideTokens) -> bool:
    """Whether it is one user's and items that are not paired with users."""
    return len(user.present) == 1 and item.present.dim() == 2 and len(item.present) > 1
