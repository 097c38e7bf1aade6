"""Batcher: explanations asked for while the writer is busy make up its next batch.

In: evidence records, a language and a tone, from many requests at once. Out: each request's
explanations. The writer works in a thread of its own, so that health checks are answered.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.api import Explanation
from serving.evidence import Evidence
from serving.metrics import EXPLAINER_BATCH, observe
from serving.phrases import Language, Tone

Write = Callable[[Sequence[Evidence], Language, Tone], Sequence[Explanation]]
HANGS_S = 600.0  # a slate of 100 takes two minutes of two busy cores
Answer = asyncio.Future[Explanation]


@dataclass(frozen=True)
class Asked:
    """One record that waits for its explanation."""

    record: Evidence
    manner: tuple[Language, Tone]
    answer: Answer


class Batcher:
    """One batch at a time; `write` may raise, and then all whose records it held learn of it."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: list[Asked] = []
        self.busy = asyncio.Lock()  # also for whoever uses the writer without a batch
        self._began_s: float | None = None

    def check_progress(self) -> None:
        """Raises RuntimeError where a batch takes so long that its model must hang."""
        if self._began_s is not None and time.monotonic() - self._began_s > HANGS_S:
            raise RuntimeError(f"the language model has not answered for {HANGS_S:.0f} s")

    async def explain(
        self, records: Sequence[Evidence], language: Language, tone: Tone
    ) -> list[Explanation]:
        """One explanation a record, in order. Raises what the writer raised."""
        loop = asyncio.get_running_loop()
        mine = [Asked(record, (language, tone), loop.create_future()) for record in records]
        self._waiting += mine
        try:
            async with self.busy:
                await self._write_all_that_wait()
            return list(await asyncio.gather(*(asked.answer for asked in mine)))
        finally:
            for asked in mine:  # of a cancelled request; nobody is to write these
                asked.answer.cancel()

    async def _write_all_that_wait(self) -> None:
        """A batch for each language and tone; none if another request has answered them already."""
        batch, self._waiting = self._waiting, []
        try:
            for manner in dict.fromkeys(asked.manner for asked in batch):
                await self._write_batch([asked for asked in batch if asked.manner == manner])
        finally:  # cancelled half-way: the others' records are the next request's batch
            self._waiting = [asked for asked in batch if not asked.answer.done()] + self._waiting

    async def _write_batch(self, batch: Sequence[Asked]) -> None:
        records = [asked.record for asked in batch]
        observe(EXPLAINER_BATCH, len(records))
        self._began_s = time.monotonic()
        try:
            written = await asyncio.to_thread(self._write, records, *batch[0].manner)
        except Exception as error:  # noqa: BLE001  each request must learn of it, not one
            for asked in batch:
                if not asked.answer.done():  # its request may have been cancelled
                    asked.answer.set_exception(error)
            return
        finally:
            self._began_s = None
        for asked, explanation in zip(batch, written, strict=True):
            if not asked.answer.done():
                asked.answer.set_result(explanation)
