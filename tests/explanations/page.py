"""Writes docs/explanations.md: how explanations are made, and twenty of them to read, good and bad.

`python -m tests.explanations.page --dataset lastfm --texts TEXTS` after the benchmark, whose texts
it reads (tests/benchmarks/explanations.py). Nothing is chosen by hand: the examples are the first
of each kind.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from feast import FeatureStore

from serving import templates
from serving.api import Context
from serving.checker import check
from serving.evidence import Evidence
from serving.ranker import SlateRanker
from tests.benchmarks.explanations import make_parser, shown_explanations
from tests.explanations.chinese import CHINESE
from tests.explanations.english import ENGLISH
from tests.explanations.faults import PLANTS
from tests.explanations.pairs import Pair, RememberedWriter, StandingClock, draw_pairs
from tests.explanations.paraphrases import true_sentence
from tests.explanations.unseen import UNSEEN, filled
from training.bundle import load_bundle

PAGE = Path("docs/explanations.md")
MARK = "<!-- examples: python -m tests.explanations.page -->"
NUM_MODEL, NUM_BAD, NUM_ENGLISH, NUM_CHINESE, NUM_LOST = 5, 3, 2, 2, 2
FAULTS = (
    ("swapped name", ENGLISH),
    ("changed number", ENGLISH),
    ("flipped sentiment", ENGLISH),
    ("invented friends", ENGLISH),
    ("turned relation", CHINESE),
)


def examples(ranker: SlateRanker, pairs: Sequence[Pair], writer: RememberedWriter) -> list[str]:
    """Twenty entries in Markdown."""
    told = [pair.record for pair in pairs if not pair.record.is_empty]
    rng = random.Random(1)
    return [
        *of_the_model(pairs, writer),
        *in_template(told),
        *planted(told, ranker.snapshot.titles, rng),
        *lost(told, ranker.snapshot.titles, rng),
        counterfactual(ranker, pairs[0]),
    ]


def entry(heading: str, text: str, *notes: str) -> str:
    return "\n".join([f"**{heading}.** {text}", *(f"    - {note}" for note in notes)])


def evidence(record: Evidence) -> str:
    """The record in one line."""
    said = []
    for fact in record.facts:
        what = f"{fact.kind} `{fact.name or fact.number}`"
        said.append(what + (f" ({fact.weight:+.2f})" if fact.weight is not None else ""))
    return f"Leading source: {record.leading_source}. Facts (weight): {', '.join(said)}."


def of_the_model(pairs: Sequence[Pair], writer: RememberedWriter) -> Iterator[str]:
    """Sentences that were shown, and sentences that were cut or turned down."""
    shown = shown_explanations(pairs, writer)
    good = [(p, one) for p, one in shown if one.writer == "model" and not one.rejected]
    for pair, one in distinct(good)[:NUM_MODEL]:
        yield entry("Good, by the model", f"“{one.text}”", evidence(pair.record))
    bad = [(p, one) for p, one in shown if one.rejected]
    for _, one in distinct(bad)[:NUM_BAD]:
        yield entry(
            "Bad, by the model",
            one.rejected[0],
            f"Shown instead, by the {one.writer}: “{one.text}”",
        )


def distinct(shown: list) -> list:  # type: ignore[type-arg]
    """The first of each set of kinds of fact, then the rest."""
    first = {tuple(sorted({f.kind for f in p.record.facts})): (p, one) for p, one in shown[::-1]}
    chosen = list(first.values())
    return chosen + [pair for pair in shown if pair not in chosen]


def in_template(records: Sequence[Evidence]) -> Iterator[str]:
    rich = sorted(records, key=lambda record: -len({fact.kind for fact in record.facts}))
    for record in rich[:NUM_ENGLISH]:
        yield entry("Template, English", f"“{templates.write(record)}”", evidence(record))
    for record in rich[NUM_ENGLISH : NUM_ENGLISH + NUM_CHINESE]:
        yield entry("Template, Chinese", templates.write(record, "zh"), evidence(record))


def planted(records: Sequence[Evidence], names: Sequence[str], rng: random.Random) -> Iterator[str]:
    """A fault of each of some kinds, and what the checker says."""
    left = list(FAULTS)
    while left:
        kind, wordings = left[0]
        record = rng.choice(records)
        faulty = PLANTS[kind](true_sentence(record, rng, wordings), record, names, rng)
        if faulty is None:
            continue
        found = check(str(faulty), record, wordings.language).problems
        said = "; ".join(found) if found else "nothing: it was missed"
        yield entry(f"Planted, {kind}", f"“{faulty}”", f"The checker: {said}.")
        left.pop(0)


def lost(records: Sequence[Evidence], names: Sequence[str], rng: random.Random) -> Iterator[str]:
    """True sentences that are turned down, because their words are not known."""
    left = NUM_LOST
    while left:
        record = rng.choice(records)
        sentence = filled(rng.choice(UNSEEN["en"][True]), record, names, rng)
        found = check(sentence, record).problems if sentence else ()
        if found:
            left -= 1
            yield entry("True, and lost", f"“{sentence}”", f"The checker: {'; '.join(found)}.")


def counterfactual(ranker: SlateRanker, pair: Pair) -> str:
    user = ranker.users.read(pair.user_id, Context(), ranker.clock.now_us())
    found = ranker.counterfactuals(user, pair.record.item_id, Context())
    return entry("Counterfactual", " ".join(f"“{one.text}”" for one in found))


def main() -> None:
    """Replace what stands after the mark on the page."""
    parser = make_parser()
    parser.prog = "python -m tests.explanations.page"
    args = parser.parse_args()
    args.bundle = args.bundle or Path("runs") / args.dataset / "bundle"
    bundle = load_bundle(args.bundle)
    store = FeatureStore(repo_path=str(args.repo))
    ranker = SlateRanker(bundle, store, StandingClock("data", bundle.as_of))
    pairs = draw_pairs(ranker, args.pairs, args.seed)
    writer = RememberedWriter(args.texts)
    written = [pair for pair in pairs if pair.record.fingerprint() in writer.texts]
    entries = examples(ranker, written, writer)
    head = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    numbered = "\n".join(f"{number}. {one}" for number, one in enumerate(entries, start=1))
    PAGE.write_text(f"{head}{MARK}\n\n{numbered}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
