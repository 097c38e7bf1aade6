"""The command line of training: flags and a YAML file become a Job.

In: arguments. Out: a Job with absolute paths and a resolved configuration. Nothing is opened here
but the YAML file.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from training.config import FUSIONS, TrainingConfig, read_config


@dataclasses.dataclass(frozen=True)
class Job:
    """Where a run reads and writes, and how it goes."""

    repo: Path
    data: Path
    out: Path
    service: str
    ablate: tuple[str, ...]
    resume: bool
    config: TrainingConfig
    refit: bool = True
    """Whether everything learns again: from all before the test what is evaluated, from all periods
    what is served."""


def exit_status(command: Callable[[], object]) -> int:
    """Run a command: 0, or 2 for a ValueError. What can be put right is one line, not a trace."""
    try:
        command()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str] | None) -> Job:
    """The command line, with paths made absolute: Ray's workers run in folders of their own."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a fusion model on the features in a Feast registry and write a bundle.",
    )
    add = parser.add_argument
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    add("--data", type=Path, default=Path("data/current"), help="built data set (%(default)s)")
    add("--service", default="ranking_v1", help="feature service of inputs (%(default)s)")
    add("--out", type=Path, required=True, help="folder of this run; its bundle is OUT/bundle")
    add("--fusion", choices=FUSIONS, help="how sources are fused (attention)")
    add("--epochs", type=int, help="at most so many; early stopping usually ends before")
    add("--workers", type=int, help="Ray Train workers; 0 trains here, without Ray (1)")
    add("--gpu", action="store_true", default=None, help="one GPU a worker, mixed precision")
    add("--seed", type=int, help="of negatives, weights and order of labels (0)")
    add("--ablate", default="", help="sources, e.g. social,text: train without each one as well")
    add(
        "--refit",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="learn again before the test, baselines as well, and from all periods what is served",
    )
    add("--config", type=Path, help="YAML with sections `model` and `run`; flags go before it")
    add("--resume", action="store_true", help="continue the run in --out from its checkpoint")
    given = parser.parse_args(arguments)
    config = read_config(given.config) if given.config else TrainingConfig()
    return Job(
        repo=given.repo.absolute(),
        data=given.data.absolute(),
        out=given.out.absolute(),
        service=given.service,
        ablate=tuple(source for source in given.ablate.split(",") if source),
        resume=given.resume,
        config=with_flags(config, given),
        refit=given.refit,
    )


def with_flags(config: TrainingConfig, given: argparse.Namespace) -> TrainingConfig:
    """The configuration with the flags that were given in place of its values."""
    values = config.model_dump()
    if given.fusion is not None:
        values["model"]["fusion"] = given.fusion
    for name in ("epochs", "workers", "gpu", "seed"):
        if getattr(given, name) is not None:
            values["run"][name] = getattr(given, name)
    return TrainingConfig.model_validate(values)
