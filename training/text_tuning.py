"""Tune the text encoder: `python -m training.text_tuning --data data/current --out runs/adapter`.

In: a data set's tables and a sentence encoder. Out: a LoRA adapter (Hu et al. 2021) with which the
text of what somebody took up lies near the text of what they take up next, for
`python -m feature_repo.pipelines.build --only features --text-adapter OUT`. Learnt contrastively,
the other pairs of a batch being the negatives (van den Oord et al. 2018, InfoNCE), from pairs of
the training period alone. The encoder's own weights stay as they are.
"""

# Shapes: N pairs, B pairs of a batch, D width of a vector

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from feature_repo.pipelines.features.corpus import item_texts
from feature_repo.pipelines.features.encoder import HuggingFaceEncoder, quiet_peft
from feature_repo.pipelines.tables import write_text_atomic
from training.command import exit_status
from training.events import Events, Ints, read_events

REPORT_EVERY = 20  # steps
CLIP_NORM = 1.0


class TextTuningConfig(BaseModel):
    """How the adapter is learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=200, ge=1)
    """Of the optimizer; the learning rate falls to nothing over them."""
    batch_size: int = Field(default=64, ge=2)
    """Pairs a step: each has the others' next items as its negatives."""
    learning_rate: float = Field(default=5e-4, gt=0)
    rank: int = Field(default=8, ge=1)
    """Of the matrices added to every linear layer."""
    temperature: float = Field(default=0.05, gt=0)
    """Cosines are divided by it, as in SimCSE (Gao et al. 2021)."""
    max_tokens: int = Field(default=64, ge=3)
    """Longer texts are cut while tuning: cost grows with it. Features are built uncut."""
    max_held_out: int = Field(default=1024, ge=2)
    """Newest pairs of the training period that are kept out of learning and measured."""
    seed: int = Field(default=0, ge=0)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Items that somebody took up one after the other, in order of time."""

    past: Ints
    """[N], as in `Events`"""
    following: Ints
    """[N]"""

    def __len__(self) -> int:
        return len(self.past)

    def take(self, rows: Ints | slice) -> Pairs:
        return Pairs(self.past[rows], self.following[rows])


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Mean contrastive loss of the pairs that were kept out."""

    before: float
    after: float
    num_pairs: int
    num_held_out: int


def tune(
    data: Path, out: Path, model: str = "minilm", config: TextTuningConfig | None = None
) -> Outcome:
    """Learn an adapter and write it to `out`; ValueError when the data set has too few pairs."""
    config = config or TextTuningConfig()
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; give another --out")
    events = read_events(data)
    texts = texts_of(data, events)
    learnt, held_out = split(training_pairs(events, texts), config)
    encoder = HuggingFaceEncoder(model, max_tokens=config.max_tokens)
    torch.manual_seed(config.seed)
    adapted = with_adapter(encoder.transformer, config)
    before = held_out_loss(encoder, adapted, held_out, texts, config)
    print(f"{len(learnt)} pairs to learn from, {len(held_out)} kept out, loss {before:.4f}")
    learn(encoder, adapted, learnt, texts, config)
    after = held_out_loss(encoder, adapted, held_out, texts, config)
    outcome = Outcome(before, after, len(learnt), len(held_out))
    save(adapted, encoder, out, config, outcome)
    print(f"kept out: loss {before:.4f} before, {after:.4f} after\nadapter {out}", flush=True)
    return outcome


def texts_of(data: Path, events: Events) -> list[str]:
    """Each item's own text, in the order of `events`; empty where it has none."""
    with duckdb.connect() as connection:
        found = item_texts(connection, data)
    return [found.get(item_id, "") for item_id in events.item_ids]


def training_pairs(events: Events, texts: Sequence[str]) -> Pairs:
    """Neighbours in the users' take-ups of the training period, where both have a text."""
    taken = events.training_take_ups()
    order = taken[np.argsort(events.user_index[taken], kind="stable")]
    first, second = order[:-1], order[1:]
    past, following = events.item_index[first], events.item_index[second]
    speaks = np.array([bool(text) for text in texts])
    kept = events.user_index[first] == events.user_index[second]
    kept &= (past != following) & speaks[past] & speaks[following]
    by_time = np.argsort(events.at_us[second[kept]], kind="stable")
    return Pairs(past[kept][by_time], following[kept][by_time])


def split(pairs: Pairs, config: TextTuningConfig) -> tuple[Pairs, Pairs]:
    """The pairs to learn from, and the newest tenth, at most so many."""
    num_held_out = min(len(pairs) // 10, config.max_held_out)
    if num_held_out < 2 or len(pairs) - num_held_out < config.batch_size:
        raise ValueError(
            f"the training period has {len(pairs)} pairs of items with a text, too few for "
            f"batches of {config.batch_size} and a tenth kept out; lower --batch-size"
        )
    return pairs.take(slice(0, -num_held_out)), pairs.take(slice(-num_held_out, None))


def with_adapter(transformer: Any, config: TextTuningConfig) -> Any:
    """The transformer with low-rank matrices beside every linear layer, which alone are learnt."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.rank, lora_alpha=2 * config.rank, lora_dropout=0.05, target_modules="all-linear"
    )
    with quiet_peft():
        return get_peft_model(transformer, lora)


def learn(
    encoder: HuggingFaceEncoder,
    adapted: Any,
    pairs: Pairs,
    texts: Sequence[str],
    config: TextTuningConfig,
) -> None:
    """The steps of the optimizer, on pairs in random order."""
    own = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.steps)
    rng = np.random.default_rng(config.seed)
    adapted.train()
    recent, started = [], time.perf_counter()
    for step, rows in zip(range(1, config.steps + 1), shuffled(pairs, config, rng), strict=False):
        loss = contrastive_loss(encoder, adapted, pairs.take(rows), texts, config)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(own, CLIP_NORM)
        optimizer.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if step % REPORT_EVERY == 0 or step == config.steps:
            seconds = time.perf_counter() - started
            print(f"step {step:>5}/{config.steps}  loss {np.mean(recent):.4f}  {seconds:.0f} s")
            recent = []
    adapted.eval()


def shuffled(pairs: Pairs, config: TextTuningConfig, rng: np.random.Generator) -> Iterator[Ints]:
    """Rows of full batches, pass after pass, without end."""
    while True:
        order = rng.permutation(len(pairs))
        for start in range(0, len(order) - config.batch_size + 1, config.batch_size):
            yield order[start : start + config.batch_size]


@torch.no_grad()
def held_out_loss(
    encoder: HuggingFaceEncoder,
    adapted: Any,
    pairs: Pairs,
    texts: Sequence[str],
    config: TextTuningConfig,
) -> float:
    """Mean loss over batches of neighbours in time."""
    adapted.eval()
    starts = range(0, len(pairs) - 1, config.batch_size)
    parts = [pairs.take(slice(start, start + config.batch_size)) for start in starts]
    losses = [
        float(contrastive_loss(encoder, adapted, part, texts, config)) * len(part) for part in parts
    ]
    return sum(losses) / sum(map(len, parts))


def contrastive_loss(
    encoder: HuggingFaceEncoder,
    adapted: Any,
    pairs: Pairs,
    texts: Sequence[str],
    config: TextTuningConfig,
) -> Tensor:
    """Cross-entropy of each pair's next item among those of the batch.

    Where another pair of the batch has the same next item, that is no wrong answer.
    """
    wanted = [texts[item] for item in (*pairs.past.tolist(), *pairs.following.tolist())]
    vectors = encoder.pooled(adapted, encoder.tokenize(wanted))
    past_BD, following_BD = vectors[: len(pairs)], vectors[len(pairs) :]
    following_B = torch.from_numpy(pairs.following).to(vectors.device)
    same_BB = following_B[:, None] == following_B[None]
    same_BB.fill_diagonal_(False)
    logits_BB = (past_BD @ following_BD.T / config.temperature).masked_fill(same_BB, -torch.inf)
    return functional.cross_entropy(logits_BB, torch.arange(len(pairs), device=vectors.device))


def save(
    adapted: Any,
    encoder: HuggingFaceEncoder,
    out: Path,
    config: TextTuningConfig,
    outcome: Outcome,
) -> None:
    """Write the adapter as peft does, naming the encoder and not a folder of this machine."""
    for lora in adapted.peft_config.values():
        lora.base_model_name_or_path = encoder.name
    # "auto" would ask the hub whether words were added; none ever are.
    adapted.save_pretrained(str(out), save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # peft's own, an empty form
    told = {"model": encoder.name, **config.model_dump(), **dataclasses.asdict(outcome)}
    write_text_atomic(json.dumps(told, indent=2) + "\n", out / "tuning.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.text_tuning", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/current"), help="built data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the adapter")
    parser.add_argument("--encoder", default="minilm", help="as in the build (%(default)s)")
    defaults = TextTuningConfig()
    for name in ("steps", "batch_size", "learning_rate", "rank", "max_tokens", "seed"):
        default = getattr(defaults, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default, help="(%(default)s)")
    given = vars(parser.parse_args(arguments))
    data, out, model = (given.pop(name) for name in ("data", "out", "encoder"))
    return exit_status(lambda: tune(data, out, model, TextTuningConfig.model_validate(given)))


if __name__ == "__main__":
    sys.exit(main())
