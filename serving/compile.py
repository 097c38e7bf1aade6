"""Compile: `python -m serving.compile --bundle runs/NAME/bundle --out runs/NAME/compiled`.

In: a bundle. Out: the steps of its model as native code, for servers that are started with
`compiled=runs/NAME/compiled` (training/compiling.py). It asks the model what a server asks it for
one request, about a user of whom nothing is known.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from serving.rollout import bundle_folder
from serving.snapshot import Snapshot
from training.attribution import attribute
from training.bundle import Bundle, load_bundle
from training.command import exit_status
from training.compiling import Requests, compile_steps
from training.projector import ViewBatch
from training.row_encoder import RowEncoder

NUM_CANDIDATES, NUM_SLATE = 500, 20  # compiled code takes any number; sizes like these guide it


def compile_bundle(path: Path, out: Path) -> None:
    """Compile for the bundle in a folder. Raises ValueError where it has too few items."""
    bundle = load_bundle(path)
    if bundle.items.num_rows < 2:
        raise ValueError(f"{path} has {bundle.items.num_rows} items; two are needed to compile for")
    compile_steps(bundle.model, bundle.encoder, one_request(bundle), out)
    print(f"compiled to {out}; serve with `compiled={out}` beside `bundle={path}`")


@torch.inference_mode()
def one_request(bundle: Bundle) -> Requests:
    """What a request gives the model."""
    at_us = int(bundle.as_of.timestamp() * 1e6)
    rows, seen = RowEncoder(bundle.encoder), Requests()
    absent, at = torch.tensor([-1]), torch.tensor([at_us])
    views = bundle.encoder.feature_schema.user_views
    bundle.model.native = seen
    try:
        user = bundle.model.user_tokens(
            {view.name: ViewBatch(rows.encode(view.name, {}), absent, at) for view in views}
        )
        some = np.arange(min(NUM_CANDIDATES, bundle.items.num_rows))
        items = Snapshot.from_bundle(bundle).tokens(some, at_us)
        bundle.model.score(user, items)
        attribute(bundle.model, user, items.map(lambda own: own[:NUM_SLATE]))
    finally:
        bundle.model.native = None
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.compile",
        description="Compile the model of a bundle for servers started with compiled=OUT. Takes "
        "a minute or two and a C++ compiler; servers need none. It fits bundles of the same "
        "shapes, the same torch and the same kind of processor: others are served uncompiled.",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="runs/NAME/bundle")
    parser.add_argument("--out", type=Path, required=True, help="runs/NAME/compiled")
    given = parser.parse_args(arguments)
    return exit_status(lambda: compile_bundle(bundle_folder(given.bundle), given.out))


if __name__ == "__main__":
    sys.exit(main())
