"""Explanations, measured: are they true, does the checker catch faults, is attribution faithful?

`python -m tests.benchmarks.explanations --dataset lastfm --pairs 500 --json OUT` needs a built data
set and a bundle of it (`make demo DATASET=...`). What the language model wrote is kept in
`--texts`, so that a second run need not write it again.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from feast import FeatureStore

from serving import templates
from serving.api import Explanation
from serving.checker import check
from serving.explainer import ATTEMPTS, explain_by_model, explain_by_template
from serving.ranker import SlateRanker
from tests.explanations.catches import planted, planted_in_model_texts, unseen
from tests.explanations.chinese import CHINESE
from tests.explanations.costs import template_cost, writer_times
from tests.explanations.deletions import faithfulness
from tests.explanations.judge import Judge
from tests.explanations.pairs import Pair, RememberedWriter, StandingClock, draw_pairs
from training.bundle import load_bundle

Figures = dict[str, Any]


def truth(pairs: Sequence[Pair], writer: RememberedWriter, judge: Judge) -> Figures:
    """Share of true statements before and after the checker, as the raw tables have it."""
    told = [pair for pair in pairs if not pair.record.is_empty]
    records = [pair.record for pair in told]
    shown = explain_by_model(writer, records)
    raw = writer.write(records, "en", "neutral", 0)
    template = [explain_by_template(record).text for record in records]

    def share(texts: Sequence[str]) -> float:
        counts = [
            judge.share(text, pair.user_id, pair.record.item_id)
            for text, pair in zip(texts, told, strict=True)
        ]
        return sum(true for true, _ in counts) / sum(all_ for _, all_ in counts)

    by_model = [one.writer == "model" for one in shown]
    return {
        "pairs": len(pairs),
        "pairs_with_evidence": len(told),
        "supported_before": share(raw),
        "supported_after": share([one.text for one in shown]),
        "supported_template": share(template),
        "model_share": sum(by_model) / len(shown),
        "template_share": 1 - sum(by_model) / len(shown),
        "cut_share": sum(bool(m and one.rejected) for m, one in zip(by_model, shown, strict=True))
        / len(shown),
        "diversity": {
            "model": diversity([one.text for one, m in zip(shown, by_model, strict=True) if m]),
            "template": diversity(template),
        },
        "not_supported": [
            {"text": one.text, "user": pair.user_id, "item": pair.record.item_id}
            for one, pair in zip(shown, told, strict=True)
            if len(set(judge.share(one.text, pair.user_id, pair.record.item_id))) > 1
        ][:20],
    }


def diversity(texts: Sequence[str]) -> Figures:
    """How different the sentences are (distinct-n: Li et al. 2016), and how long."""
    words = [text.split() for text in texts]

    def distinct(n: int) -> float:
        grams = [tuple(w[i : i + n]) for w in words for i in range(len(w) - n + 1)]
        return len(set(grams)) / max(1, len(grams))

    return {
        "distinct_sentences": len(set(texts)) / max(1, len(texts)),
        "distinct_1": distinct(1),
        "distinct_2": distinct(2),
        "words_mean": statistics.mean(map(len, words)) if words else None,
        "words_max": max(map(len, words), default=None),
    }


def chinese(pairs: Sequence[Pair], names: Sequence[str], args: argparse.Namespace) -> Figures:
    """The checker and the templates in Chinese."""
    records = [pair.record for pair in pairs if not pair.record.is_empty]
    templated = [templates.write(record, "zh") for record in records]
    told = [check(text, r, "zh") for text, r in zip(templated, records, strict=True)]
    statements = [statement for one in told for statement in one.statements]
    return {
        "planted": planted(pairs, names, args.faults, args.seed, wordings=CHINESE),
        "unseen": unseen(pairs, names, args.seed, "zh"),
        "template_statements_supported": sum(s.may_stand for s in statements) / len(statements),
        "template_diversity": diversity([" ".join(text) for text in templated]),
    }


def measure(args: argparse.Namespace) -> Figures:
    """Everything, in one dictionary."""
    bundle = load_bundle(args.bundle)
    store = FeatureStore(repo_path=str(args.repo))
    bundle.check(store)
    ranker = SlateRanker(bundle, store, StandingClock("data", bundle.as_of))
    pairs = draw_pairs(ranker, args.pairs, args.seed)
    writer = RememberedWriter(args.texts)
    judge = Judge(args.data, ranker.clock.now_us())
    names = ranker.snapshot.titles
    faults = planted(pairs, names, args.faults, args.seed)
    held_out = planted(pairs, names, args.faults, args.seed, held_out=True)
    figures = truth(pairs, writer, judge)
    in_model_texts = planted_in_model_texts(pairs, writer, judge, names, args.seed)
    parts = (faults, in_model_texts)  # the held-out wordings are a figure of their own
    num_faults = sum(part["faults"] for part in parts)
    caught = sum(p["recall"] * p["faults"] for p in parts)
    flagged = sum(p["recall"] * p["faults"] / max(p["precision"], 1e-9) for p in parts)
    return {
        "dataset": args.dataset,
        **figures,
        "checker_recall": caught / num_faults,
        "checker_precision": caught / flagged,
        "planted_faults": num_faults,
        "planted": {
            "paraphrases": faults,
            "model_texts": in_model_texts,
            "held_out": held_out,
            "unseen": unseen(pairs, names, args.seed, "en"),
        },
        "chinese": chinese(pairs, names, args),
        **faithfulness(ranker, pairs),
        "template_cost": template_cost(ranker, list(bundle.seen.user_ids[: args.requests])),
        "seconds": writer_times(writer, pairs, args.timed) if args.timed else None,
        "attempts": ATTEMPTS,
        "threads": torch.get_num_threads(),
        "seed": args.seed,
    }


def shown_explanations(
    pairs: Sequence[Pair], writer: RememberedWriter
) -> list[tuple[Pair, Explanation]]:
    """What users would see, for examples to read (docs/explanations.md)."""
    told = [pair for pair in pairs if not pair.record.is_empty]
    shown = explain_by_model(writer, [pair.record for pair in told])
    return list(zip(told, shown, strict=True))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.explanations")
    parser.add_argument("--dataset", default="world", help="data/NAME and runs/NAME/bundle")
    parser.add_argument("--data", type=Path, help="data set folder, if it lies elsewhere")
    parser.add_argument("--bundle", type=Path, help="bundle, if it lies elsewhere")
    parser.add_argument("--repo", type=Path, default=Path("feature_repo"), help="feature repo")
    parser.add_argument("--pairs", type=int, default=100, help="(user, item) pairs explained")
    parser.add_argument("--faults", type=int, default=1000, help="faults planted in paraphrases")
    parser.add_argument("--requests", type=int, default=100, help="requests that are timed")
    parser.add_argument("--timed", type=int, default=10, help="sentences of the model timed alone")
    parser.add_argument("--texts", type=Path, help="file that keeps what the model wrote")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    return parser


def main() -> None:
    """Parse the flags, measure, print, and write the figures."""
    args = make_parser().parse_args()
    args.data = args.data or Path("data") / args.dataset
    args.bundle = args.bundle or Path("runs") / args.dataset / "bundle"
    for folder in (args.data, args.bundle):
        if not folder.is_dir():
            raise SystemExit(
                f"{folder} does not exist; run `make demo DATASET={args.dataset}` first"
            )
    text = json.dumps(measure(args), indent=2, ensure_ascii=False)
    args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
