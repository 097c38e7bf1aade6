"""Compiling: the steps that a fusion model takes for a request become native code.

In: a model, and what one request gives it. Out: a folder of packages, one a step, that AOTInductor
makes (Ansel et al. 2024, PyTorch 2). They hold no weights, take one user and any number of items
from two on, and need no compiler where they run (native.py).
"""

# Shapes: K masks, S sources

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._inductor import aoti_compile_and_package
from torch.export import Dim, ExportedProgram
from tqdm import tqdm

from training.encode import Encoder
from training.model import FusionModel
from training.native import RECORD, fingerprint
from training.signature import Batches, ColumnNames, Signature, TokenNames
from training.tokens import SideTokens

ITEMS = Dim("items", min=2, max=1_048_576)
NO_ITEMS = 1_000  # no step takes so many tensors
OPTIONS = {
    "aot_inductor.package_constants_in_so": False,
    "cpp.threads": 1,  # as a replica computes: docs/adr/0018-batching-and-threads.md
}

OF_TORCH_ITSELF = ("`torch.jit.script_method` is deprecated", ".*LeafSpec.* is deprecated")
"""Warnings that torch 2.13 gives of its own code."""


class Requests:
    """Notes what one request gives a model, whose own way it then takes. A `Steps`."""

    def __init__(self) -> None:
        self.users: Batches = {}
        self.items: tuple[SideTokens, Batches] | None = None
        self.pair: tuple[SideTokens, SideTokens] | None = None
        self.slate: tuple[SideTokens, SideTokens, Tensor] | None = None

    def user_tokens(self, batches: Batches) -> None:
        self.users = batches

    def finished(self, prepared: SideTokens, batches: Batches) -> None:
        self.items = prepared.map(torch.clone), batches  # the model finishes it in place

    def score(self, user: SideTokens, item: SideTokens) -> None:
        self.pair = user, item

    def score_masked(self, user: SideTokens, item: SideTokens, mask_KS: Tensor) -> None:
        self.slate = user, item, mask_KS


class Step(nn.Module):
    """A step of the model as a function of tensors alone, as packages know it."""

    def __init__(self, model: FusionModel, names: Signature) -> None:
        super().__init__()
        self.model, self.names = model, names


class UserTokens(Step):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        batches = self.names.user_columns.batches(tensors)
        return tuple(self.names.user.flat(self.model.user_tokens(batches)))


class Finished(Step):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        prepared, batches = self.names.split_items(tensors)
        # The model finishes its tokens in place; a graph is not to change what it is given.
        found = self.model.finished(prepared.map(torch.clone), batches)
        return tuple(self.names.item.flat(found))


class Score(Step):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (self.model.score(*self.names.split_pair(tensors)),)


class ScoreMasked(Step):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        user, item = self.names.split_pair(tensors[1:])
        return (self.model.score_masked(user, item, tensors[0]),)


def compile_steps(model: FusionModel, encoder: Encoder, seen: Requests, out: Path) -> None:
    """Compile the steps for requests like the one seen: a minute or two, and it takes a C++
    compiler. `out` is whole or not there; what was compiled to it before is replaced.

    ValueError where there is no compiler, or where `out` holds something else.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"there is no C++ compiler '{compiler}'; install one (`apt install g++`) or name it in "
            "CXX, or serve without compiling"
        )
    if out.exists() and not (out / RECORD).is_file():
        raise ValueError(f"{out} holds something else than compiled steps; give another --out")
    names, programs = exported(model, encoder, seen)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        building = Path(folder) / out.name
        building.mkdir()
        for name, program in tqdm(programs.items(), desc="compiling", unit="step"):
            path = str(building / f"{name}.pt2")
            with warnings.catch_warnings():
                for own in OF_TORCH_ITSELF:
                    warnings.filterwarnings("ignore", own)
                aoti_compile_and_package(program, package_path=path, inductor_configs=OPTIONS)
        (building / RECORD).write_text(names.model_dump_json(indent=1))
        if out.exists():
            out.rename(Path(folder) / "old")
        building.rename(out)


@torch.no_grad()
def exported(
    model: FusionModel, encoder: Encoder, seen: Requests
) -> tuple[Signature, dict[str, ExportedProgram]]:
    """Each step as a graph for any number of items, to be compiled."""
    assert seen.pair is not None
    assert seen.slate is not None
    (user, item), (*slate, masks_KS) = seen.pair, seen.slate
    names = Signature(
        fits=fingerprint(model, encoder),
        user_columns=ColumnNames.of(seen.users),
        item_columns=ColumnNames.of(seen.items[1]) if seen.items else None,
        user=TokenNames.of(user),
        item=TokenNames.of(item),
        prepared=TokenNames.of(seen.items[0]) if seen.items else None,
    )
    # Each step, its tensors, and how many of them come before those of items.
    num_user = names.user.num_tensors
    steps: dict[str, tuple[type[Step], list[Tensor], int]] = {
        "user_tokens": (UserTokens, names.user_columns.flat(seen.users), NO_ITEMS),
        "score": (Score, names.flat_pair(user, item), num_user),
        "score_masked": (ScoreMasked, [masks_KS, *names.flat_pair(*slate)], num_user + 1),
    }
    if seen.items is not None:
        steps["finished"] = (Finished, names.flat_items(*seen.items), 0)
    programs = {}
    for name, (step, tensors, first) in steps.items():
        own = tuple(tensor.detach().clone() for tensor in tensors)
        shapes = tuple({0: ITEMS} if place >= first else {} for place in range(len(own)))
        programs[name] = torch.export.export(
            step(model, names).eval(), own, dynamic_shapes=(shapes,), strict=False
        )
    return names, programs
