"""Texts a second: batches of equal length against batches in the order given, in one run.

`python -m tests.benchmarks.text_embedding --json OUT`. Needs only torch, transformers, numpy and
safetensors, with `--model` a folder that holds the weights, so that it runs on a bare GPU machine.
Both ways use one model, one tokenizer, one cut and one number type; rounds alternate.
"""

# Shapes: N texts, D width of the vectors.
import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers

from feature_repo.pipelines.features.encoder import Floats, HuggingFaceEncoder

WORDS = (
    "slow warm late guitar record shoegaze noise tender winter river drum voice live cover dream "
    "the a of and with very not quite really film story actor ending camera scene plot book price "
    "battery screen soft skin cream smell bottle brush colour gift quality shipping return"
).split()

# Share of texts and the range of their words: tags, titles, and reviews as online shops have them.
KINDS = ((0.5, 1, 3), (0.3, 3, 12), (0.2, 20, 200))


def draw_texts(num_texts: int, seed: int) -> list[str]:
    """Random texts whose lengths vary as those of a real corpus do."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(KINDS), num_texts, p=[share for share, _, _ in KINDS])
    return [
        " ".join(rng.choice(WORDS, rng.integers(KINDS[kind][1], KINDS[kind][2] + 1)))
        for kind in kinds
    ]


def encode_in_given_order(encoder: HuggingFaceEncoder, texts: Sequence[str], size: int) -> Floats:
    """The plain loop: `size` texts at a time as they come, each batch padded to its longest."""
    parts = [
        encoder.embed_tokens(encoder.tokenize(texts[start : start + size])).cpu().numpy()
        for start in range(0, len(texts), size)
    ]
    return np.concatenate(parts)


def seconds_of(work: Callable[[], Floats]) -> float:
    """Wall seconds of work that returns arrays on the CPU, so that no GPU work is left running."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def summary(seconds: Sequence[float], num_texts: int) -> dict[str, float]:
    """Median and range of texts a second over the rounds."""
    rates = [num_texts / one for one in seconds]
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def measure(encoder: HuggingFaceEncoder, args: argparse.Namespace) -> dict[str, object]:
    """Time both ways `--repeats` times, alternating, and check that they agree."""
    texts = draw_texts(args.texts, args.seed)
    ways: dict[str, Callable[[], Floats]] = {
        "equal_length": lambda: encoder.encode(texts),
        **{
            f"given_order_{size}": lambda size=size: encode_in_given_order(encoder, texts, size)  # type: ignore[misc]
            for size in args.naive_sizes
        },
    }
    first = {name: work() for name, work in ways.items()}  # warms up, too
    cosine = min(float((first["equal_length"] * one).sum(axis=1).min()) for one in first.values())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, work in ways.items():
            seconds[name].append(seconds_of(work))
    rates = {name: summary(some, len(texts)) for name, some in seconds.items()}
    best_naive = max(rate["median"] for name, rate in rates.items() if name != "equal_length")
    lengths = [len(ids) for ids in encoder.tokenize(texts)]
    return {
        "texts_per_second": rates,
        "ratio_to_best_given_order": rates["equal_length"]["median"] / best_naive,
        "least_cosine_between_ways": cosine,
        "texts": len(texts),
        "tokens_mean": statistics.mean(lengths),
        "tokens_max": max(lengths),
        "repeats": args.repeats,
        "seed": args.seed,
    }


def machine(encoder: HuggingFaceEncoder) -> dict[str, object]:
    """What it ran on."""
    on_gpu = encoder.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(encoder.autocast_dtype),
        "model": encoder.name,
        "batch_tokens": encoder.batch_tokens,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
    }


def main() -> None:
    """Parse the flags, measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--model", default="minilm", help="minilm, a folder, or a Hugging Face id")
    parser.add_argument("--texts", type=int, help="default 40,000 on a GPU, 1,000 on a CPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-tokens", type=int, help="bound of our batches; default by device")
    parser.add_argument("--naive-sizes", type=int, nargs="+", default=[32, 256])
    args = parser.parse_args()
    encoder = HuggingFaceEncoder(args.model, batch_tokens=args.batch_tokens)
    args.texts = args.texts or (40_000 if encoder.device.type == "cuda" else 1_000)
    figures = {**measure(encoder, args), **machine(encoder)}
    text = json.dumps(figures, indent=2)
    args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
