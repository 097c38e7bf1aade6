"""Workers: the training loop in this process, or in a Ray Train TorchTrainer.

In: TrainingData, what the model is built from, a RunConfig, a folder. Out: a Fitted. The loop is
the same either way; Ray adds workers, checkpoints, restarts and resuming.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from torch import Tensor, nn

from training.config import RunConfig
from training.dataset import TrainingData
from training.loop import EpochReport, Loop, ModelSpec, Place, State
from training.model import FusionModel

STATE_FILE = "state.pt"
# Set before a local Ray starts, unless the user has set them.
LOCAL = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of its own future at every start
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every line of progress comes twice
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes this machine away
    "PYTHONWARNINGS": "ignore::DeprecationWarning",  # Ray's own, of no use to whoever trains
    "RAY_COLOR_PREFIX": "0",  # escape codes make a mess of logs
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin made a step 25 times slower on busy cores
}


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The outcome of a run: the best epoch's model and every epoch's figures."""

    model: FusionModel
    """On the CPU, in eval mode."""
    reports: tuple[EpochReport, ...]
    best_epoch: int


def fit(
    spec: ModelSpec,
    data: TrainingData,
    run: RunConfig,
    storage: Path,
    name: str,
    take_last: bool = False,
) -> Fitted:
    """Train with `run.workers` Ray workers, or in this process for 0.

    The model is that of the best epoch, or of the last where the number of epochs is settled.
    Checkpoints go to `storage/name`; a run of that name is continued (the caller decides whether
    that is wanted). Raises ValueError when the loss stops being finite or there are too few CPUs.
    """
    if run.workers == 0:
        return fitted(spec, run, fit_here(spec, data, run), take_last)
    state = fit_on_ray(spec, data, run, storage.absolute(), name)
    return fitted(spec, run, state, take_last)


def fitted(spec: ModelSpec, run: RunConfig, state: State, take_last: bool = False) -> Fitted:
    model = spec.build(run.seed).eval()
    model.load_state_dict(state["model" if take_last else "best"])
    reports = tuple(EpochReport.model_validate(line) for line in state["reports"])
    return Fitted(model, reports, state["best_epoch"])


def fit_here(spec: ModelSpec, data: TrainingData, run: RunConfig) -> State:
    """Train in this process, without Ray and without checkpoints."""
    device = torch.device("cuda" if run.gpu else "cpu")
    loop = Loop(spec, data, run, Place(device=device))
    try:
        loop.fit(lambda line, loop: print(line.line(loop.run.epochs), flush=True))
    except FloatingPointError as error:
        raise ValueError(str(error)) from error
    return loop.state()


def fit_on_ray(
    spec: ModelSpec, data: TrainingData, run: RunConfig, storage: Path, name: str
) -> State:
    """Train in Ray Train workers; Ray must have been started."""
    run = run.model_copy(update={"cpus_per_worker": cpus_per_worker(run)})
    check_resources(run)
    trainer = ray.train.torch.TorchTrainer(
        train_loop_per_worker,
        # Files are named, each worker maps them; arrays in memory go through the object store.
        # Either way the workers of one machine share one copy.
        train_loop_config={"spec": spec, "run": run, "data": data.folder or ray.put(data)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=run.workers,
            use_gpu=run.gpu,
            resources_per_worker=resources_per_worker(run),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=run.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    with warnings.catch_warnings():
        # Ray 2.60 reads its own deprecated settings; Feast has made such warnings visible.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.")
        result = trainer.fit()
    if result.checkpoint is None:
        raise ValueError(f"the run in {storage / name} ended without a checkpoint")
    with result.checkpoint.as_directory() as folder:
        state = read_state(Path(folder))
    if state["failure"]:
        raise ValueError(state["failure"])
    return state


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """What each worker runs; `config` holds the spec, the run, the data's folder or reference."""
    context = ray.train.get_context()
    run: RunConfig = config["run"]
    torch.set_num_threads(run.cpus_per_worker or 1)
    # Ray Train logs every report in full by loggers named after files, which only the root holds.
    logging.getLogger().setLevel(logging.WARNING)
    place = Place(
        rank=context.get_world_rank(),
        num_workers=context.get_world_size(),
        device=ray.train.torch.get_device(),
        wrap=in_step,
        total=total_over_workers,
    )
    where = config["data"]
    data = TrainingData.open(where) if isinstance(where, Path) else ray.get(where)
    loop = Loop(config["spec"], data, run, place)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            loop.load(read_state(Path(folder)))
        if place.rank == 0:
            print(f"continuing after epoch {loop.epoch}", flush=True)
    try:
        loop.fit(report_epoch)
    except FloatingPointError as error:
        # Every worker stops at the same step. Raising here would only restart them to fail again.
        report(loop, {"failure": str(error)}, str(error))


def report_epoch(line: EpochReport, loop: Loop) -> None:
    """Print the line once and hand Ray the metrics and, from the first worker, a checkpoint."""
    if loop.place.rank == 0:
        print(line.line(loop.run.epochs), flush=True)
    report(loop, line.model_dump(), "")


def report(loop: Loop, metrics: dict[str, Any], failure: str) -> None:
    """Report to Ray Train, which waits for all workers."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if loop.place.rank == 0:
            torch.save({**loop.state(), "failure": failure}, Path(folder) / STATE_FILE)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)


def read_state(folder: Path) -> State:
    """A checkpoint's content: tensors and plain values only, no code is run."""
    state: State = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    return state


def in_step(model: nn.Module) -> nn.Module:
    """The model with its gradients averaged over workers."""
    # A batch may lack a source altogether, and then its layers get no gradient.
    wrapped: nn.Module = ray.train.torch.prepare_model(
        model, parallel_strategy_kwargs={"find_unused_parameters": True}
    )
    return wrapped


def total_over_workers(numbers: Tensor) -> Tensor:
    """Sum of the workers' numbers, the same on all of them."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(numbers)
    return numbers


def cpus_per_worker(run: RunConfig) -> int:
    """CPUs of a worker: as configured, else a fair share of a lone machine, or one in a cluster."""
    if run.cpus_per_worker is not None:
        return run.cpus_per_worker
    if len(ray.nodes()) > 1:
        return 1
    return max(1, int(ray.cluster_resources().get("CPU", 1) // run.workers))


def resources_per_worker(run: RunConfig) -> dict[str, float]:
    return {"CPU": float(run.cpus_per_worker or 1)} | ({"GPU": 1.0} if run.gpu else {})


def check_resources(run: RunConfig) -> None:
    """Raise ValueError if the cluster can never start the workers: Ray would wait for ever."""
    has = ray.cluster_resources()
    for resource, one in resources_per_worker(run).items():
        needed, there = one * run.workers, has.get(resource, 0)
        if needed > there:
            raise ValueError(
                f"{run.workers} workers need {needed:g} {resource}, but the Ray cluster has "
                f"{there:g}; use --workers {max(int(there // one), 0)} or a larger cluster"
            )


def start_ray() -> bool:
    """Join the cluster that RAY_ADDRESS or a job names, or start a local one.

    Returns whether it was joined or started here, and so is to be left here.
    """
    if ray.is_initialized():
        return False
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.ERROR)
        return True
    for name, value in LOCAL.items():
        os.environ.setdefault(name, value)
    try:
        ray.init("local", logging_level=logging.ERROR)
    except (TimeoutError, ConnectionError, RuntimeError):
        ray.shutdown()  # a busy machine is sometimes too slow for Ray's own 30 s: once more
        ray.init("local", logging_level=logging.ERROR)
    return True
