"""Requests share batches, and none of them pays for another's failure or departure."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from serving.api import Explanation
from serving.batcher import Batcher
from serving.evidence import Evidence
from serving.explainer import explain_by_template
from serving.phrases import Language, Tone
from tests.explanations.records import MOVIE, MUSIC, NEW


class Press:
    """Writes templates once it is let to, and keeps what each batch held."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free, self.broken = threading.Event(), False

    def __call__(
        self, records: Sequence[Evidence], language: Language, tone: Tone
    ) -> list[Explanation]:
        self.batches.append([record.item_id for record in records])
        assert self.free.wait(10)
        if self.broken:
            raise OSError("out of paper")
        return [explain_by_template(record, language, tone) for record in records]


async def ask(batcher: Batcher, *records: Evidence) -> list[str]:
    written = await batcher.explain(records, "en", "neutral")
    return [explanation.text for explanation in written]


async def _reached(press: Press, batches: int) -> None:
    while len(press.batches) < batches:
        await asyncio.sleep(0.001)


def run(story: Any) -> Any:
    return asyncio.run(asyncio.wait_for(story, 20))


def test_what_is_asked_meanwhile_is_one_batch() -> None:
    press = Press()

    async def story() -> list[list[str]]:
        batcher = Batcher(press)
        first = asyncio.create_task(ask(batcher, MOVIE))
        await _reached(press, 1)
        others = [asyncio.create_task(ask(batcher, record)) for record in (MUSIC, NEW)]
        await asyncio.sleep(0)
        press.free.set()
        return await asyncio.gather(first, *others)

    texts = run(story())
    assert press.batches == [[MOVIE.item_id], [MUSIC.item_id, NEW.item_id]]
    assert texts == [[explain_by_template(record).text] for record in (MOVIE, MUSIC, NEW)]


@pytest.mark.parametrize("broken", [False, True])
def test_a_cancelled_request_leaves_the_others_answered(broken: bool) -> None:
    """The one that leaves is the one whose task writes the batch, or one that waits in it."""
    press = Press()
    press.broken = broken

    async def story() -> list[Any]:
        batcher = Batcher(press)
        first = asyncio.create_task(ask(batcher, MOVIE))
        await _reached(press, 1)
        waiting = [asyncio.create_task(ask(batcher, record)) for record in (MUSIC, NEW, MOVIE)]
        await asyncio.sleep(0)
        first.cancel()
        await _reached(press, 2)
        waiting[0].cancel()
        await asyncio.sleep(0)
        waiting[1].cancel()
        press.free.set()
        return await asyncio.gather(first, *waiting, return_exceptions=True)

    *gone, left = run(story())
    assert all(isinstance(one, asyncio.CancelledError) for one in gone)
    if broken:
        assert isinstance(left, OSError)
    else:
        assert left == [explain_by_template(MOVIE).text]


def test_a_failure_reaches_every_request_of_its_batch_and_no_later_one() -> None:
    press = Press()
    press.broken = True
    press.free.set()

    async def story() -> tuple[list[Any], list[str]]:
        batcher = Batcher(press)
        failed = await asyncio.gather(
            ask(batcher, MOVIE, MUSIC), ask(batcher, NEW), return_exceptions=True
        )
        press.broken = False
        return failed, await ask(batcher, MOVIE)

    failed, later = run(story())
    assert [str(one) for one in failed] == ["out of paper", "out of paper"]
    assert later == [explain_by_template(MOVIE).text]
