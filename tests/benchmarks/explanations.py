"""Explanations, measured: are they true, does the checker catch faults, is attribution faithful?

`python -m tests.benchmarks.explanations --dataset lastfm --pairs 500 --json OUT` needs a built data
set and a bundle of it (`make demo DATASET=...`). What the language model wrote is kept in
`--texts`, so that a second run need not write it again.
"""

import argparse
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from feast import FeatureStore

from serving import templates
from serving.api import Explanation, RecommendRequest
from serving.checker import check
from serving.clock import Clock
from serving.evidence import Evidence
from serving.explainer import ATTEMPTS, explain_by_model, explain_by_template
from serving.prompts import prompt
from serving.ranker import SlateRanker
from serving.users import history_field
from serving.writer import LanguageModelWriter
from tests.explanations.faults import PLANTS, in_text
from tests.explanations.held_out import HELD_OUT_PLANTS, held_out_sentence
from tests.explanations.judge import Judge
from tests.explanations.paraphrases import DEEDS, true_sentence
from training.attribution import Hidden, Trial, attribute, trial_scores
from training.bundle import load_bundle

Figures = dict[str, Any]
PER_USER = 2
SAVED_AFTER = 32  # sentences, so that a run that is stopped goes on where it was


@dataclass(frozen=True)
class Pair:
    """A user, an item of the user's slate, and the evidence for it."""

    user_id: str
    record: Evidence


class StandingClock(Clock):
    """Always the end of the data, so that the same question has the same evidence."""

    def now_us(self) -> int:
        return self._start_us


class RememberedWriter:
    """Answers from a file where it can; the model is loaded for what is missing."""

    def __init__(self, path: Path | None) -> None:
        self.model_name = "remembered"
        self._path = path
        self.texts: dict[str, dict[str, str]] = {}
        if path is not None and path.exists():
            self.texts = json.loads(path.read_text(encoding="utf-8"))
        self.model: LanguageModelWriter | None = None

    def write(self, records: Sequence[Evidence], language: Any, tone: Any, attempt: int = 0) -> Any:
        missing = [r for r in records if str(attempt) not in self.texts.get(r.fingerprint(), {})]
        missing.sort(key=lambda record: json.dumps(prompt(record).fixed))  # shapes together
        for start in range(0, len(missing), SAVED_AFTER):
            part = missing[start : start + SAVED_AFTER]
            self.model = self.model or LanguageModelWriter()
            written = self.model.write(part, language, tone, attempt)
            for record, text in zip(part, written, strict=True):
                self.texts.setdefault(record.fingerprint(), {})[str(attempt)] = text
            if self._path is not None:
                self._path.write_text(json.dumps(self.texts, indent=0), encoding="utf-8")
        return [self.texts[record.fingerprint()][str(attempt)] for record in records]

    def stream(self, record: Evidence, language: Any, tone: Any) -> Any:
        self.model = self.model or LanguageModelWriter()
        return self.model.stream(record, language, tone)


def draw_pairs(ranker: SlateRanker, num: int, seed: int) -> list[Pair]:
    """The first PER_USER items of the slates of users drawn at random."""
    users = ranker.bundle.seen.user_ids
    drawn = np.random.default_rng(seed).choice(users, min(len(users), num // PER_USER), False)
    pairs = []
    for user_id in map(str, drawn):
        request = RecommendRequest(user_id=user_id, k=PER_USER, explain="llm")
        pairs += [Pair(user_id, item.evidence) for item in ranker.recommend(request).items]
    return pairs


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


def planted(
    pairs: Sequence[Pair], names: Sequence[str], num: int, seed: int, held_out: bool = False
) -> Figures:
    """Precision and recall of the checker over faults planted in true sentences."""
    rng = random.Random(seed)
    records = [pair.record for pair in pairs if not pair.record.is_empty]
    plants = HELD_OUT_PLANTS if held_out else PLANTS
    caught: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    rejected = true = 0
    missed, turned_down = [], []
    while sum(tried.values()) < num:
        record = done_differently(rng.choice(records), rng)
        sentence = held_out_sentence(record, rng) if held_out else true_sentence(record, rng)
        true += 1
        if not check(str(sentence), record).is_supported:
            rejected += 1
            turned_down.append(str(sentence))
        kind = rng.choice(sorted(plants))
        faulty = plants[kind](sentence, record, names, rng)
        if faulty is not None:
            tried[kind] += 1
            found = not check(str(faulty), record).is_supported
            caught[kind] += found
            if not found:
                missed.append(f"{kind}: {faulty}")
    return counted(tried, caught, true, rejected) | {
        "missed": missed[:20],
        "turned_down": turned_down[:20],
    }


def done_differently(record: Evidence, rng: random.Random) -> Evidence:
    """The record with another action, so that every verb is met."""
    action = rng.choice(sorted(DEEDS))
    facts = [
        fact.model_copy(update={"action": action}) if fact.kind == "history" else fact
        for fact in record.facts
    ]
    return record.model_copy(update={"facts": tuple(facts)})


def planted_in_model_texts(
    pairs: Sequence[Pair],
    writer: RememberedWriter,
    judge: Judge,
    names: Sequence[str],
    seed: int,
) -> Figures:
    """The same with what the language model wrote, where the raw tables say it is all true."""
    rng = random.Random(seed)
    tried, caught, missed = Counter[str](), Counter[str](), []
    true = rejected = 0
    for pair in pairs:
        for text in writer.texts.get(pair.record.fingerprint(), {}).values():
            supported, statements = judge.share(text, pair.user_id, pair.record.item_id)
            if supported < statements:
                continue
            true += 1
            rejected += not check(text, pair.record).is_supported
            for kind, faulty in in_text(text, pair.record, names, rng).items():
                tried[kind] += 1
                found = not check(faulty, pair.record).is_supported
                caught[kind] += found
                if not found:
                    missed.append(f"{kind}: {faulty}")
    return counted(tried, caught, true, rejected) | {"missed": missed[:20]}


def counted(tried: Counter[str], caught: Counter[str], true: int, rejected: int) -> Figures:
    total = sum(caught.values())
    return {
        "faults": sum(tried.values()),
        "true_sentences": true,
        "recall": total / max(1, sum(tried.values())),
        "precision": total / max(1, total + rejected),
        "recall_by_kind": {kind: caught[kind] / tried[kind] for kind in sorted(tried)},
    }


@torch.no_grad()
def faithfulness(ranker: SlateRanker, pairs: Sequence[Pair]) -> Figures:
    """Deletion and insertion of sources, and deletion of what the user took up."""
    model, at_us = ranker.bundle.model, ranker.clock.now_us()
    led = shapley = inserted = 0
    beaten: list[float] = []
    for pair in pairs:
        user = ranker.users.read(pair.user_id, RecommendRequest(user_id="u").context, at_us)
        position = ranker.snapshot.place(pair.record.item_id)
        items = ranker.snapshot.tokens(np.array([position]), at_us)
        found = attribute(model, user.tokens, items)
        removal = found.removal_BCS[0, 0]
        costliest = int(removal.argmax())
        led += int(found.leading_sources()[0, 0]) == costliest
        top = int(found.contributions_BCS[0, 0].argmax())
        shapley += top == costliest
        only = [
            float(model.score(user.tokens.masked(keep), items.masked(keep)))
            for keep in torch.eye(len(model.sources), dtype=torch.bool)
        ]
        inserted += top == int(np.argmax(only))
        history = pair.record.of("history")
        own = history_field(ranker.bundle.schema)
        if history and own is not None and len(user.history) > 1:
            trials = [
                Trial(0, (Hidden(own[0].name, own[1].name, place),))
                for place in range(len(user.history))
            ]
            scores = trial_scores(
                model,
                user.batches,
                ranker.snapshot.batches(np.array([position]), at_us),
                ranker.snapshot.numbers[[position]],
                trials,
            ).numpy()
            told = scores[user.history.index(history[0].entity_ids[0])]
            beaten.append(float((scores > told).sum() / (len(scores) - 1)))
    return {
        "deletion_rate": led / len(pairs),
        "deletion_rate_highest_shapley": shapley / len(pairs),
        "insertion_rate_highest_shapley": inserted / len(pairs),
        "history_told_beats_other_history": statistics.mean(beaten) if beaten else None,
        "history_pairs": len(beaten),
    }


def template_cost(ranker: SlateRanker, users: Sequence[str], k: int = 20) -> Figures:
    """What `explain=template` adds to an answer: gathering, wording and writing it as JSON."""

    def answer(user_id: str, mode: Any) -> float:
        request = RecommendRequest(user_id=user_id, k=k, explain=mode)
        started = time.perf_counter()
        slate = ranker.recommend(request)
        if mode == "template":
            told = [explain_by_template(item.evidence) for item in slate.items]
            "".join(one.model_dump_json() for one in told)
        return 1e3 * (time.perf_counter() - started)

    for user_id in users[:5]:
        answer(user_id, "template")
    none, template = [], []
    for number, user_id in enumerate(users):  # in turns, so that both meet the same machine
        first, second = ("none", "template") if number % 2 else ("template", "none")
        times = {first: answer(user_id, first), second: answer(user_id, second)}
        none.append(times["none"])
        template.append(times["template"])
    return {
        "items": k,
        "requests": len(users),
        "none_p50_ms": statistics.median(none),
        "template_p50_ms": statistics.median(template),
        "template_adds_p50_ms": statistics.median(template) - statistics.median(none),
    }


def writer_times(writer: RememberedWriter, pairs: Sequence[Pair], num: int) -> Figures:
    """Seconds to the first words that are the model's own, and to the whole sentence."""
    records = [pair.record for pair in pairs if not pair.record.is_empty][: num + 1]
    first, total = [], []
    for record in records:
        started = time.perf_counter()
        stream = writer.stream(record, "en", "neutral")
        next(stream)  # the opening is fixed
        next(stream, None)
        first.append(time.perf_counter() - started)
        for _ in stream:
            pass
        total.append(time.perf_counter() - started)

    def seconds_of(write: Callable[[Evidence], str]) -> float:
        started = time.perf_counter()
        for record in records:
            write(record)
        return (time.perf_counter() - started) / len(records)

    return {
        # The first record of all also computes the prompt's cache.
        "model": {
            "first_token_p50_s": statistics.median(first[1:]),
            "total_p50_s": statistics.median(total[1:]),
            "first_token_cold_s": first[0],
        },
        "template": {"total_mean_s": seconds_of(templates.write)},
        "checker": {"total_mean_s": seconds_of(lambda r: str(check(templates.write(r), r)))},
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
        },
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
