"""Catches: precision and recall of the checker over planted faults, in either language."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from serving.checker import check
from serving.evidence import Evidence
from serving.phrases import Language
from tests.explanations.english import DEEDS, ENGLISH
from tests.explanations.faults import PLANTS, in_text
from tests.explanations.held_out import HELD_OUT_PLANTS, held_out_sentence
from tests.explanations.judge import Judge
from tests.explanations.pairs import Pair, RememberedWriter
from tests.explanations.paraphrases import true_sentence
from tests.explanations.unseen import UNSEEN, filled
from tests.explanations.wordings import Wordings

Figures = dict[str, Any]
TRIES = 5  # records that an unseen form is tried on


def planted(
    pairs: Sequence[Pair],
    names: Sequence[str],
    num: int,
    seed: int,
    *,
    wordings: Wordings = ENGLISH,
    held_out: bool = False,
) -> Figures:
    """Precision and recall of the checker over faults planted in true sentences."""
    rng, language = random.Random(seed), wordings.language
    records = [pair.record for pair in pairs if not pair.record.is_empty]
    plants = HELD_OUT_PLANTS if held_out else PLANTS
    caught: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    rejected = true = 0
    missed, turned_down = [], []
    while sum(tried.values()) < num:
        record = done_differently(rng.choice(records), rng)
        sentence = (
            held_out_sentence(record, rng) if held_out else true_sentence(record, rng, wordings)
        )
        true += 1
        if not check(str(sentence), record, language).is_supported:
            rejected += 1
            turned_down.append(str(sentence))
        kind = rng.choice(sorted(plants))
        faulty = plants[kind](sentence, record, names, rng)
        if faulty is not None:
            tried[kind] += 1
            found = not check(str(faulty), record, language).is_supported
            caught[kind] += found
            if not found:
                missed.append(f"{kind}: {faulty}")
    return counted(tried, caught, true, rejected) | {
        "missed": missed[:20],
        "turned_down": turned_down[:20],
    }


def unseen(pairs: Sequence[Pair], names: Sequence[str], seed: int, language: Language) -> Figures:
    """The same over whole sentences that nothing was tuned on, each on TRIES records."""
    rng = random.Random(seed)
    records = [pair.record for pair in pairs if not pair.record.is_empty]
    passed: dict[bool, list[str]] = {True: [], False: []}
    stopped: dict[bool, list[str]] = {True: [], False: []}
    for is_true, forms in UNSEEN[language].items():
        for form in forms:
            drawn = (done_differently(rng.choice(records), rng) for _ in range(40 * TRIES))
            told = ((r, filled(form, r, names, rng, language)) for r in drawn)
            for record, text in itertools.islice(((r, t) for r, t in told if t), TRIES):
                found = check(text, record, language).is_supported
                (passed if found else stopped)[is_true].append(text)
    faults = len(passed[False]) + len(stopped[False])
    return {
        "forms": sum(map(len, UNSEEN[language].values())),
        "faults": faults,
        "true_sentences": len(passed[True]) + len(stopped[True]),
        "recall": len(stopped[False]) / faults,
        "precision": len(stopped[False]) / max(1, len(stopped[False]) + len(stopped[True])),
        "true_that_pass": len(passed[True]) / max(1, len(passed[True]) + len(stopped[True])),
        "missed": sorted(set(passed[False]))[:20],
        "turned_down": sorted(set(stopped[True]))[:20],
    }


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


def done_differently(record: Evidence, rng: random.Random) -> Evidence:
    """The record with another action, so that every verb is met."""
    action = rng.choice(sorted(DEEDS))
    facts = [
        fact.model_copy(update={"action": action}) if fact.kind == "history" else fact
        for fact in record.facts
    ]
    return record.model_copy(update={"facts": tuple(facts)})


def counted(tried: Counter[str], caught: Counter[str], true: int, rejected: int) -> Figures:
    total = sum(caught.values())
    return {
        "faults": sum(tried.values()),
        "true_sentences": true,
        "recall": total / max(1, sum(tried.values())),
        "precision": total / max(1, total + rejected),
        "recall_by_kind": {kind: caught[kind] / tried[kind] for kind in sorted(tried)},
    }
