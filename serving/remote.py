"""Remote: a writer whose model answers behind an OpenAI-compatible URL (vLLM, Ray Serve's LLM
deployment, a hosted one), with nothing to install here.

`explainer_url=http://127.0.0.1:8001/v1 explainer_model=NAME`; a key, where one is needed, comes
from the environment variable EXPLAINER_API_KEY. That server batches and keeps its own caches.
"""

import json
import os
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.evidence import Evidence
from serving.phrases import Language, Tone
from serving.prompts import prompt
from serving.writer import MAX_NEW_TOKENS, TEMPERATURE, TOP_P, first_sentence

KEY_VARIABLE = "EXPLAINER_API_KEY"
MAX_AT_ONCE = 16


class RemoteWriter:
    """Asks `url`/chat/completions, so many at once. Raises OSError when it cannot be reached."""

    def __init__(self, url: str, model: str, timeout_s: float = 30.0) -> None:
        self.model_name = model
        self._url = url.rstrip("/") + "/chat/completions"
        self._timeout_s = timeout_s

    def write(
        self, records: Sequence[Evidence], language: Language, tone: Tone, attempt: int = 0
    ) -> list[str]:
        """A sentence a record."""

        def one(record: Evidence) -> str:
            return "".join(self._sentence(record, language, tone, attempt))

        with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
            return list(pool.map(one, records))

    def stream(self, record: Evidence, language: Language, tone: Tone) -> Iterator[str]:
        """The whole sentence at once: its server's stream would save little of so short a text."""
        yield from self._sentence(record, language, tone, 0)

    def _sentence(
        self, record: Evidence, language: Language, tone: Tone, attempt: int
    ) -> Iterator[str]:
        asked = prompt(record, language, tone)
        ask = f"{asked.asked['content']}\n{asked.opening} …"
        body = {
            "model": self.model_name,
            "messages": [*asked.fixed, {"role": "user", "content": ask}],
            "max_tokens": MAX_NEW_TOKENS,
            "temperature": TEMPERATURE if attempt else 0.0,
            "top_p": TOP_P,
            "seed": attempt,
            "stop": ["\n"],
        }
        text = str(self._post(body)["choices"][0]["message"]["content"]).strip()
        whole = text if text.startswith(asked.opening) else f"{asked.opening} {text}"
        yield first_sentence(whole, asked.names)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {os.environ[KEY_VARIABLE]}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
            answer: dict[str, Any] = json.loads(response.read())
        return answer
