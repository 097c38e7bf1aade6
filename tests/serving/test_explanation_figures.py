"""The benchmark's parts run over the tiny world, and what they count is what was counted."""

import random

import pytest

from serving.ranker import SlateRanker
from tests.explanations.catches import planted, unseen
from tests.explanations.chinese import CHINESE
from tests.explanations.costs import template_cost
from tests.explanations.deletions import faithfulness
from tests.explanations.pairs import Pair, draw_pairs
from tests.explanations.unseen import UNSEEN, filled


@pytest.fixture(scope="module")
def pairs(ranker: SlateRanker) -> list[Pair]:
    return draw_pairs(ranker, 8, seed=1)


def test_deletion_rates_are_shares_of_all_pairs(ranker: SlateRanker, pairs: list[Pair]) -> None:
    figures = faithfulness(ranker, pairs)
    for name in ("deletion_rate", "insertion_rate_highest_shapley"):
        assert figures[name] in [n / len(pairs) for n in range(len(pairs) + 1)]
    # The leading source is nearer to the costliest removal than the highest value alone.
    assert (figures["deletion_rate"] or 0) >= (figures["deletion_rate_highest_shapley"] or 0)


def test_the_checker_is_measured_in_both_languages(ranker: SlateRanker, pairs: list[Pair]) -> None:
    names = ranker.snapshot.titles
    english = planted(pairs, names, 60, seed=1)
    chinese = planted(pairs, names, 60, seed=1, wordings=CHINESE)
    assert english["recall"] == chinese["recall"] == 1.0
    for language in UNSEEN:
        figures = unseen(pairs, names, 1, language)
        assert figures["forms"] == sum(map(len, UNSEEN[language].values()))
        assert figures["recall"] >= 0.95


def test_a_form_is_filled_only_from_facts_that_the_record_has(pairs: list[Pair]) -> None:
    bare = pairs[0].record.model_copy(update={"facts": ()})
    names, rng = ("Alien", "Scarface", "Amelie"), random.Random(1)
    assert filled("You {d} {p}: {t}.", bare, names, rng) is None
    assert filled("We suggest {t}.", bare, names, rng) == f"We suggest {bare.title}."


def test_cost_is_the_median_of_paired_differences(ranker: SlateRanker) -> None:
    figures = template_cost(ranker, ranker.bundle.seen.user_ids[:2], k=5)
    assert (figures["items"], figures["requests"]) == (5, 2)
    assert figures["template_p50_ms"] > 0
    assert isinstance(figures["template_adds_cpu_ms"], float)
