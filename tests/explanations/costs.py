"""Costs: what explanations add to an answer, and how long each writer takes."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from serving import templates
from serving.api import RecommendRequest
from serving.checker import check
from serving.evidence import Evidence
from serving.explainer import explain_by_template
from serving.ranker import SlateRanker
from tests.explanations.pairs import Pair, RememberedWriter

Figures = dict[str, Any]
REPEATS = 5


def template_cost(ranker: SlateRanker, users: Sequence[str], k: int = 20) -> Figures:
    """What `explain=template` adds to an answer: gathering, wording and writing it as JSON.

    Requests with and without are made in turns and their differences taken, so that both meet the
    same machine. `template_adds_cpu_ms` is by processor time, the least of REPEATS for each user:
    what an idle machine adds.
    """

    def ms(user_id: str, mode: Any, clock: Callable[[], float]) -> float:
        request = RecommendRequest(user_id=user_id, k=k, explain=mode)
        started = clock()
        slate = ranker.recommend(request)
        if mode == "template":
            told = [explain_by_template(item.evidence) for item in slate.items]
            "".join(one.model_dump_json() for one in told)
        return 1e3 * (clock() - started)

    def turn(number: int, user_id: str) -> tuple[float, float]:
        order = ("none", "template") if number % 2 else ("template", "none")
        times = {mode: ms(user_id, mode, time.perf_counter) for mode in order}
        return times["none"], times["template"]

    for number, user_id in enumerate(users[:5]):
        turn(number, user_id)
    turns = [turn(number, user_id) for number, user_id in enumerate(users)]
    least = [
        [
            min(ms(user_id, mode, time.thread_time) for _ in range(REPEATS))
            for mode in ("none", "template")
        ]
        for user_id in users
    ]
    return {
        "items": k,
        "requests": len(users),
        "none_p50_ms": statistics.median(none for none, _ in turns),
        "template_p50_ms": statistics.median(template for _, template in turns),
        "template_adds_p50_ms": statistics.median(template - none for none, template in turns),
        "template_adds_cpu_ms": statistics.median(template - none for none, template in least),
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
