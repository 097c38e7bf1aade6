"""Gradient descent for channels: epochs, a progress bar, early stopping, one seed.

In: a torch module, what gives an epoch's batches, and their loss. Out: the module in its best
state, on a GPU where there is one.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from tqdm import tqdm

from training.baselines import Scorer
from training.bootstrap import user_means
from training.metrics import ndcg
from training.queries import Queries
from training.ranking import hits, top_items

Model = TypeVar("Model", bound=nn.Module)
K = 10  # places of the list that early stopping looks at


class DescentOptions(BaseModel):
    """How a module is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    epochs: int = Field(gt=0)
    """All of them without a look at validation, at most so many with one."""
    batch_size: int = Field(gt=0)
    """Examples of a step."""
    learning_rate: float = Field(gt=0)
    """Of the first epoch."""
    last_share: float = Field(default=1.0, ge=0, le=1)
    """Of the learning rate in the last of `epochs`; it falls evenly."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Share of a weight, times the learning rate, that each step takes off (AdamW)."""
    look_every: int = Field(default=10, gt=0)
    """Epochs between looks at validation."""
    patience: int = Field(default=5, gt=0)
    """Looks without a better figure after which fitting ends."""
    seed: int = 0


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers inside follow from the seed; those outside are as if it had not been.

    >>> with seeded(3):
    ...     first = torch.rand(1)
    >>> with seeded(3):
    ...     assert torch.rand(1) == first
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def device() -> torch.device:
    """Where channels are fitted."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def descend(
    model: nn.Module,
    batches: Callable[[], Iterable[Tensor]],
    loss: Callable[[Tensor], Tensor],
    options: DescentOptions,
    look: Callable[[], float] | None = None,
    name: str = "fit",
) -> int:
    """Fit in place and return the number of epochs whose state is kept.

    `batches` gives an epoch's examples by number, `loss` their mean loss. With `look`, a figure
    that is better when higher, the best state is kept. Raises FloatingPointError for a loss that
    is not finite.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=True,  # one pass over the weights: embedding tables are large and steps are short
    )
    falls = (1.0 - options.last_share) / max(options.epochs - 1, 1)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 - falls * epoch)
    best, best_epoch, best_state = -math.inf, options.epochs, None
    bar = tqdm(range(1, options.epochs + 1), desc=name, leave=False)
    for epoch in bar:
        bar.set_postfix(loss=f"{train_epoch(model, batches(), loss, optimizer):.4f}", best=best)
        rate.step()
        if look is None or epoch % options.look_every:
            continue
        model.eval()
        figure = look()
        if figure > best:
            best, best_epoch = figure, epoch
            best_state = {key: value.clone() for key, value in model.state_dict().items()}
        elif epoch - best_epoch >= options.patience * options.look_every:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    return best_epoch


def train_epoch(
    model: nn.Module,
    batches: Iterable[Tensor],
    loss: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
) -> float:
    """A step a batch; the mean loss."""
    model.train()
    losses = []
    for examples in batches:
        optimizer.zero_grad(set_to_none=True)
        value = loss(examples)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(value.detach())
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise FloatingPointError(f"the loss of an epoch is {mean}; lower the learning rate")
    return mean


def shuffled(num: int, size: int) -> tuple[Tensor, ...]:
    """The numbers below `num` in random order, `size` at once."""
    return torch.split(torch.randperm(num, device=device()), size)


def mean_ndcg(scorer: Scorer, queries: Queries) -> float:
    """NDCG@10, averaged within users first."""
    hits_QK = hits(top_items(scorer, queries, K), queries.relevant, queries.num_items)
    figures_Q = ndcg(hits_QK, queries.relevant.lengths, K)
    return float(user_means(figures_Q[:, None], queries.user_index).mean())


def flat_weights(model: nn.Module) -> NDArray[np.float32]:
    """All parameters one after the other, for a file."""
    return np.asarray(nn.utils.parameters_to_vector(model.parameters()).detach().cpu())


def with_weights(model: Model, weights: NDArray[np.float32] | None) -> Model:
    """The model where fits are made, with these parameters if there are any."""
    if weights is not None:
        nn.utils.vector_to_parameters(torch.from_numpy(weights), model.parameters())
        model.eval()
    return model.to(device())
