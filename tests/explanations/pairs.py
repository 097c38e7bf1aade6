"""Pairs of a user and an item with their evidence, and what a language model wrote of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.api import RecommendRequest
from serving.clock import Clock
from serving.evidence import Evidence
from serving.prompts import prompt
from serving.ranker import SlateRanker
from serving.writer import LanguageModelWriter

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
