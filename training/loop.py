"""The training loop, the same in this process and in every Ray Train worker.

In: TrainingData, what the model is built from, a RunConfig. Out: reports, one an epoch, and the
state of the best epoch. The loss is a softmax over the positive and sampled candidates, each
score corrected by the log probability of its draw (Bengio and Senecal 2008, eq. 6; Yi et al. 2019).
"""

# Shapes: B labels of a batch, C candidates

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from training.config import ModelConfig, RunConfig
from training.dataset import Batch, Batches, TrainingData
from training.heads import check_outcomes, outcome_loss
from training.model import FusionModel
from training.schema import FeatureSchema

State = dict[str, Any]
CHECK_EVERY = 20  # steps between looks at the loss: on a GPU each look waits for the queue
VALIDATION_BATCH = 256
LAST_SHARE = 0.01  # of the learning rate at the last step


class EpochReport(BaseModel):
    """One line of progress."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float
    validation_loss: float
    validation_ndcg: float
    """Mean of 1 / log2(1 + rank), the rank estimated over the whole catalogue from the sample."""
    learning_rate: float
    seconds: float

    def line(self, epochs: int) -> str:
        return (
            f"epoch {self.epoch:>3}/{epochs}  train loss {self.train_loss:.4f}  validation loss "
            f"{self.validation_loss:.4f}  ndcg {self.validation_ndcg:.4f}  {self.seconds:.1f} s"
        )


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a model is built from."""

    schema: FeatureSchema
    vocabulary_sizes: Mapping[str, int]
    config: ModelConfig

    def build(self, seed: int) -> FusionModel:
        """A fresh model; the same seed gives the same weights."""
        torch.manual_seed(seed)
        return FusionModel(self.schema, self.vocabulary_sizes, self.config)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a loop runs: which of how many workers, on what."""

    rank: int = 0
    num_workers: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model
    """Makes a model train in step with the other workers' (DDP)."""
    total: Callable[[Tensor], Tensor] = lambda numbers: numbers
    """Sum over workers."""


class Loop:
    """One worker's side of a training run."""

    def __init__(
        self, spec: ModelSpec, data: TrainingData, run: RunConfig, place: Place | None = None
    ) -> None:
        self.run, self.place = run, place or Place()
        self.data = data
        check_outcomes(spec.config.outcomes, data.train.outcomes)
        self.model = spec.build(run.seed).to(self.place.device)
        self.wrapped = self.place.wrap(self.model)
        self.batches = Batches(data, self.place.device)
        self.steps = math.ceil(len(data.train) / run.batch_size)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, run.weight_decay), lr=run.learning_rate
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: rate_share(step, self.steps * run.epochs)
        )
        self.precision = precision(self.place.device)
        self.scaler = torch.amp.GradScaler(enabled=self.precision is torch.float16)
        self.epoch = 0
        self.best_ndcg, self.best_epoch = -1.0, 0
        self.best: dict[str, Tensor] = {}
        self.reports: list[EpochReport] = []

    def fit(self, report: Callable[[EpochReport, Loop], None]) -> None:
        """Train until the last epoch or until validation stops improving; report each epoch.

        Raises FloatingPointError on every worker, at one step, when the loss is not finite.
        """
        while self.epoch < self.run.epochs and not self.finished:
            started = time.perf_counter()
            train_loss = self.train_epoch()
            validation_loss, ndcg = self.validate()
            self.epoch += 1
            if ndcg > self.best_ndcg:
                self.best_ndcg, self.best_epoch = ndcg, self.epoch
                self.best = {
                    k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()
                }
            line = EpochReport(
                epoch=self.epoch,
                train_loss=train_loss,
                validation_loss=validation_loss,
                validation_ndcg=ndcg,
                learning_rate=float(self.schedule.get_last_lr()[0]),
                seconds=round(time.perf_counter() - started, 2),
            )
            self.reports.append(line)
            report(line, self)

    @property
    def finished(self) -> bool:
        """Whether early stopping has ended the run."""
        return self.epoch - self.best_epoch >= self.run.patience

    def train_epoch(self) -> float:
        """One pass over the labels; the mean loss over all workers."""
        self.wrapped.train()
        # By rank too: workers must not drop the same sources from their different labels.
        torch.manual_seed(self.run.seed * 1_000_003 + self.epoch * 1_009 + self.place.rank)
        rng = np.random.default_rng([self.run.seed, self.epoch])
        sums = torch.zeros(2, dtype=torch.float64, device=self.place.device)
        plan = self.batches.epoch(self.data.train, self.run.batch_size, self.run.negatives, rng)
        for step, (chosen, pool) in enumerate(plan):
            own = chosen[: len(chosen) - len(chosen) % self.place.num_workers]
            own = own[self.place.rank :: self.place.num_workers]
            if len(own):
                loss = self.step(self.batches.gather(self.data.train, own, pool))
                sums += torch.stack([loss * len(own), torch.full_like(loss, len(own))])
            if step % CHECK_EVERY == 0 or step == self.steps - 1:
                self.check(sums, step)
        total = self.place.total(sums.clone())
        return float(total[0] / total[1].clamp(min=1))

    def step(self, batch: Batch) -> Tensor:
        """One step of the optimizer; the batch's ranking loss, detached."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            scored = self.wrapped(batch.users, batch.items, batch.item_ids).float()
        names = self.model.config.outcomes
        scores_BC = scored[..., 0] if names else scored
        loss = ranking = softmax_loss(scores_BC, batch.log_q, batch.mask).mean()
        if names:
            asked = outcome_loss(scored[..., 1:], batch.outcomes, names, batch.mask)
            loss = ranking + self.run.outcome_weight * asked
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.run.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return ranking.detach().double()

    def check(self, sums: Tensor, step: int) -> None:
        """Stop all workers together when one of them met a loss that is not finite."""
        if not math.isfinite(float(self.place.total(sums.clone())[0])):
            raise FloatingPointError(
                f"the loss is no longer finite at epoch {self.epoch + 1}, step {step + 1}; lower "
                f"run.learning_rate (now {self.run.learning_rate}) in the file given to --config, "
                "and look for infinite values in the data report"
            )

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """Mean loss and NDCG over the validation labels, which the workers share out."""
        self.wrapped.eval()
        examples = self.data.validation
        pool = np.arange(examples.item_ids.shape[1])
        own = np.arange(self.place.rank, len(examples), self.place.num_workers)
        sums = torch.zeros(3, dtype=torch.float64, device=self.place.device)
        for start in range(0, len(own), VALIDATION_BATCH):
            chosen = own[start : start + VALIDATION_BATCH]
            batch = self.batches.gather(examples, chosen, pool)
            with self.autocast():
                scores_BC = self.model(batch.users, batch.items, batch.item_ids)
            loss_B = softmax_loss(scores_BC.float(), batch.log_q, batch.mask)
            ndcg_B = estimated_ndcg(scores_BC.float(), batch.log_q, batch.mask)
            sums += torch.stack([loss_B.sum(), ndcg_B.sum(), loss_B.new_tensor(len(chosen))])
        loss, ndcg, count = self.place.total(sums).tolist()
        return loss / max(count, 1), ndcg / max(count, 1)

    def autocast(self) -> torch.autocast:
        dtype = self.precision
        return torch.autocast(
            self.place.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None
        )

    def state(self) -> State:
        """All that a resumed run needs, of tensors and plain values only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "best_ndcg": self.best_ndcg,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "reports": [line.model_dump() for line in self.reports],
            "failure": "",
        }

    def load(self, state: State) -> None:
        """Go on from where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best = state["epoch"], state["best"]
        self.best_ndcg, self.best_epoch = state["best_ndcg"], state["best_epoch"]
        self.reports = [EpochReport.model_validate(line) for line in state["reports"]]


def softmax_loss(scores_BC: Tensor, log_q_BC: Tensor, mask_BC: Tensor) -> Tensor:
    """Cross-entropy [B] of the positive (column 0) among the candidates that the mask leaves."""
    corrected_BC = (scores_BC - log_q_BC).masked_fill(~mask_BC, -torch.inf)
    target_B = torch.zeros(len(scores_BC), dtype=torch.int64, device=scores_BC.device)
    return functional.cross_entropy(corrected_BC, target_B, reduction="none")


def estimated_ndcg(scores_BC: Tensor, log_q_BC: Tensor, mask_BC: Tensor) -> Tensor:
    """1 / log2(1 + rank) of the positive [B], its rank estimated over the whole catalogue.

    A negative that was drawn with probability q stands for 1 / (q * negatives) items, so the
    expected number of items above the positive is right however candidates were drawn.
    """
    beaten_BC = (scores_BC >= scores_BC[:, :1]) & mask_BC
    stands_for_BC = torch.exp(-log_q_BC) / mask_BC[:, 1:].sum(1, keepdim=True).clamp(min=1)
    rank_B = 1 + (beaten_BC * stands_for_BC)[:, 1:].sum(1)
    return 1.0 / torch.log2(1.0 + rank_B)


def rate_share(step: int, num_steps: int) -> float:
    """Share of the peak learning rate at a step: a tenth of the steps up, then a cosine down."""
    warm_up = max(1, num_steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    done = min(1.0, (step - warm_up) / max(1, num_steps - warm_up))
    return LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors and scalars do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def precision(device: torch.device) -> torch.dtype | None:
    """The type to compute in on a GPU; None for plain float32 on a CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
