"""The whole of evaluation on small logs: known answers, slices, pairing, the report's files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.baselines import MostPopular, MostPopularLately
from training.classification import classify
from training.evaluate import EvaluationOptions, EvaluationResult, evaluate
from training.events import Events
from training.queries import Queries, QueryOptions, build_queries
from training.report import ReportExtra, metric_table, write_report
from training.slices import build_slices, head_items, training_counts
from training.verdict import judge

MakeEvents = Callable[..., Events]


class Oracle:
    """Knows what is relevant, and errs in a given share of the queries."""

    def __init__(self, name: str, share_wrong: float = 0.0) -> None:
        self.name, self.share_wrong = name, share_wrong

    def score(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(rows), queries.num_items), dtype=np.float32)
        scores[queries.relevant.flat(rows)] = 1
        # By the query, not its place: slices and blocks must not change the answer.
        wrong = (queries.at_us[rows] // 86_400_000_000 + queries.user_index[rows]) % 100
        scores[wrong < 100 * self.share_wrong] *= -1
        return scores


@pytest.fixture
def queries(make_events: MakeEvents) -> Queries:
    events = make_events(0, users=60, items=80, events=3000)
    return build_queries(events, "test", QueryOptions(max_queries_per_user=5))


@pytest.fixture
def result(queries: Queries) -> EvaluationResult:
    scorers = [MostPopular(), MostPopularLately(7.0), Oracle("fused")]
    return evaluate(
        scorers,
        queries,
        fused="fused",
        ablations=[Oracle("fused without text", 0.5)],
        item_vectors_ID=np.eye(queries.num_items, dtype=np.float32),
        settings={"most-popular-lately": {"half-life 7 d": 0.1}},
    )


def test_perfect_scorer_is_worth_1(result: EvaluationResult) -> None:
    fused = result.models["fused"]
    for metric in ("ndcg@10", "mrr@10", "hit_rate@10", "map@10"):
        assert fused[metric].mean == pytest.approx(1.0)
        assert fused[metric].low == pytest.approx(1.0)
    assert result.models["most-popular"]["ndcg@10"].mean < 0.5
    assert fused["diversity@10"].mean == pytest.approx(1.0)


def test_every_figure_lies_within_its_interval(result: EvaluationResult) -> None:
    groups = [result.models, result.ablations, *result.differences.values()]
    groups += [part.models for part in result.slices.values()]
    for models in groups:
        for own in models.values():
            for it in own.values():
                if it.low is not None and it.high is not None:
                    assert it.low - 1e-9 <= it.mean <= it.high + 1e-9


def test_differences_are_paired(result: EvaluationResult) -> None:
    behind = result.differences["fused"]["fused without text"]["ndcg@10"]
    own, ablated = result.models["fused"], result.ablations["fused without text"]
    assert behind.mean == pytest.approx(ablated["ndcg@10"].mean - own["ndcg@10"].mean)
    assert behind.high < 0  # type: ignore[operator]
    assert set(result.differences) == {"most-popular-lately", "fused"}


def test_slices_part_users_and_items(queries: Queries, result: EvaluationResult) -> None:
    by_name = result.slices
    assert by_name["new users"].queries + by_name["known users"].queries == len(queries)
    whole = int(queries.relevant.lengths.sum())
    items = ("new items", "tail items", "head items")
    assert sum(by_name[name].relevant for name in items) == whole
    # Not NDCG: other relevant items keep their places before the slice's own.
    assert by_name["tail items"].models["fused"]["recall@20"].mean == pytest.approx(1.0)


def test_slice_of_friends_needs_a_link_before_the_query(queries: Queries) -> None:
    since = np.full(len(queries.events.user_ids), np.iinfo(np.int64).max)
    user, at_us = int(queries.user_index[0]), int(queries.at_us[0])
    since[user] = at_us
    assert not build_slices(queries, since).queries["with friends"][0]
    since[user] = at_us - 1
    assert build_slices(queries, since).queries["with friends"][0]


def test_head_is_a_fifth_of_what_was_taken_up(queries: Queries) -> None:
    counts = training_counts(queries.events)
    head = head_items(counts)
    assert 0 < head.sum() <= np.ceil(0.2 * (counts > 0).sum())
    assert counts[head].min() > counts[~head].max()


def test_result_does_not_depend_on_the_size_of_blocks(
    queries: Queries, result: EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.ranking.LARGEST_BLOCK", 7)
    again = evaluate([MostPopular(), MostPopularLately(7.0)], queries)
    for name, own in again.models.items():
        for metric in ("ndcg@10", "recall@20", "coverage@10"):
            assert own[metric] == result.models[name][metric]


def test_names_must_differ_and_the_fused_one_exist(queries: Queries) -> None:
    with pytest.raises(ValueError, match="different names"):
        evaluate([MostPopular(), MostPopular()], queries)
    with pytest.raises(ValueError, match="no scorer is called 'fused'"):
        evaluate([MostPopular()], queries, fused="fused")


def test_verdict_promotes_only_above_the_popular_lately(
    queries: Queries, result: EvaluationResult
) -> None:
    verdict = judge(result, "fused")
    assert verdict.promoted
    assert verdict.text.startswith("Promoted: fused beats most-popular, most-popular-lately on")
    worse = evaluate([MostPopularLately(7.0), Oracle("fused", 1.0)], queries, fused="fused")
    verdict = judge(worse, "fused")
    assert not verdict.promoted
    assert "does not beat most-popular-lately" in verdict.text
    assert "most-popular-lately beats fused" in verdict.reasons[0]


def test_verdict_withholds_from_a_model_that_another_baseline_beats(queries: Queries) -> None:
    scorers = [MostPopularLately(7.0), Oracle("ease", 0.0), Oracle("fused", 0.3)]
    verdict = judge(evaluate(scorers, queries, fused="fused"), "fused")
    assert not verdict.promoted
    assert verdict.text == "Not promoted: ease beat fused on ndcg@10."


def test_report_is_one_file_and_metrics_are_json(tmp_path: Path, result: EvaluationResult) -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.random(200), rng.random(200) < 0.5
    extra = ReportExtra(
        title="A <run>",
        fused="fused",
        classification=classify(probabilities, labels, probabilities, labels),
        training_curves={"loss": {"train": [2.0, 1.0]}},
        contributions={"behaviour": 3.0, "text": 1.0},
        settings={"width": 64},
        notes=["Friend links have no time."],
    )
    page = write_report(tmp_path / "run", result, extra).read_text(encoding="utf-8")
    assert "A &lt;run&gt;" in page
    assert "Promoted: fused beats" in page
    assert "Friend links have no time." in page
    assert page.count("data:image/svg+xml;base64,") == 7
    assert "http" not in page.replace("http-equiv", "")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    expected = {"protocol", "split", "models", "differences", "classification", "slices"}
    assert expected | {"ablations", "verdict"} <= set(metrics)
    assert set(metrics["models"]["fused"]["ndcg@10"]) == {"mean", "low", "high"}
    assert metrics["contributions"] == {"behaviour": 0.75, "text": 0.25}


def test_report_of_baselines_alone(tmp_path: Path, queries: Queries) -> None:
    options = EvaluationOptions(ks=(3,), resamples=100)
    page = write_report(tmp_path, evaluate([MostPopular()], queries, options=options))
    assert "Baselines only." in page.read_text(encoding="utf-8")


def test_result_survives_json(result: EvaluationResult) -> None:
    assert EvaluationResult.model_validate_json(result.model_dump_json()) == result


def test_table_lists_the_best_first(result: EvaluationResult) -> None:
    lines = metric_table(result).splitlines()
    assert lines[3].startswith("fused ")
    assert lines[-1].startswith("fused without text")
