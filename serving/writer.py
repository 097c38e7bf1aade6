"""Writer: a causal language model turns evidence records into a sentence each, in batches.

In: evidence records. Out: a sentence for each, unchecked. The key-value cache of the fixed part of
a prompt is computed once per shape and shared by every batch; a row stops at the end of its first
sentence. A model behind an OpenAI-compatible URL is in remote.py.
"""

# Shapes: B records of a batch, P tokens of the fixed prompt, T tokens of the asked part

import copy
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from serving.evidence import Evidence
from serving.models import EMBEDDED_MODEL, resolve_model
from serving.phrases import Language, Tone
from serving.prompts import Prompt, prompt

MAX_NEW_TOKENS = 56
BATCH = 8  # measured on two cores: 22 tokens a second alone, 55 by eight
MAX_PREFIXES = 64  # shapes kept; about 20 MB each with the embedded model
SENTENCE_ENDS = ".!?。！？"
TEMPERATURE, TOP_P = 0.7, 0.9


class Writer(Protocol):
    """Writes a sentence for each record; `attempt` 0 is the likeliest, later ones differ."""

    model_name: str

    def write(
        self, records: Sequence[Evidence], language: Language, tone: Tone, attempt: int = 0
    ) -> list[str]: ...

    def stream(self, record: Evidence, language: Language, tone: Tone) -> Iterator[str]:
        """The same sentence piece by piece."""
        ...


@dataclass
class _Prefix:
    """The fixed part of prompts: its cache (batch of one) and its length in tokens."""

    cache: Any
    length: int


class LanguageModelWriter:
    """Holds the model. `write` blocks while some 30 tokens a record are generated."""

    def __init__(self, model: str = EMBEDDED_MODEL, batch: int = BATCH, seed: int = 7) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = resolve_model(model)
        self.model_name = model
        self._batch, self._seed = batch, seed
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder).to(self._device).eval()
        self._prefixes: OrderedDict[str, _Prefix] = OrderedDict()
        ends = {self._tokenizer.eos_token_id, self._model.generation_config.eos_token_id}
        self._ends = {end for end in ends if isinstance(end, int)}

    def write(
        self,
        records: Sequence[Evidence],
        language: Language = "en",
        tone: Tone = "neutral",
        attempt: int = 0,
    ) -> list[str]:
        """A sentence a record; records of one shape share a forward pass. Deterministic."""
        groups: dict[str, list[tuple[int, Prompt]]] = {}
        for place, record in enumerate(records):
            asked = prompt(record, language, tone)
            groups.setdefault(json.dumps(asked.fixed), []).append((place, asked))
        texts = [""] * len(records)
        for own in groups.values():
            for start in range(0, len(own), self._batch):
                part = own[start : start + self._batch]
                for rows in self._decode([asked for _, asked in part], attempt):
                    for (place, asked), text in zip(part, rows, strict=True):
                        texts[place] = first_sentence(asked.opening + text, asked.names)
        return texts

    def stream(
        self, record: Evidence, language: Language = "en", tone: Tone = "neutral"
    ) -> Iterator[str]:
        """The sentence of `write` for one record, piece by piece: the opening at once."""
        asked = prompt(record, language, tone)
        said = asked.opening
        yield said
        for rows in self._decode([asked], attempt=0):
            text = first_sentence(asked.opening + rows[0], asked.names)
            if len(text) > len(said):
                yield text[len(said) :]
                said = text

    @torch.inference_mode()
    def _decode(self, prompts: Sequence[Prompt], attempt: int) -> Iterator[list[str]]:
        """After each step the texts so far, without openings, of prompts with one fixed part."""
        prefix = self._prefix(prompts[0])
        asked = [self._asked_tokens(one) for one in prompts]
        longest = max(map(len, asked))
        filler = [[0] * (longest - len(ids)) for ids in asked]
        ids_BT = self._tensor([[*f, *ids] for f, ids in zip(filler, asked, strict=True)])
        mask_BT = self._tensor([[*f, *[1] * len(i)] for f, i in zip(filler, asked, strict=True)])
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(len(prompts))
        mask = torch.cat([mask_BT.new_ones(len(prompts), prefix.length), mask_BT], 1)
        position_BT = prefix.length + (mask_BT.cumsum(1) - 1).clamp(min=0)
        random = torch.Generator(self._device).manual_seed(self._seed + attempt)
        written: list[list[int]] = [[] for _ in prompts]
        done = [False] * len(prompts)
        for _ in range(MAX_NEW_TOKENS):
            logits_BV = self._model(
                input_ids=ids_BT,
                attention_mask=mask,
                position_ids=position_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            chosen_B = _chosen(logits_BV, random if attempt else None)
            for row, token in enumerate(chosen_B.tolist()):
                done[row] = done[row] or token in self._ends
                if not done[row]:
                    written[row].append(token)
            texts: list[str] = self._tokenizer.batch_decode(written, skip_special_tokens=True)
            # An unfinished character decodes to U+FFFD until its last byte is there.
            texts = [text.rstrip("\ufffd") for text in texts]
            done = [
                d or is_over(text, one.names)
                for d, text, one in zip(done, texts, prompts, strict=True)
            ]
            yield texts
            if all(done):
                return
            ids_BT, position_BT = chosen_B[:, None], position_BT[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)

    def _prefix(self, one: Prompt) -> _Prefix:
        key = json.dumps(one.fixed)
        if key not in self._prefixes:
            from transformers import DynamicCache

            ids = self._tokens(self._rendered(list(one.fixed)))
            cache = DynamicCache()
            self._model(input_ids=self._tensor([ids]), past_key_values=cache, logits_to_keep=1)
            self._prefixes[key] = _Prefix(cache, len(ids))
            if len(self._prefixes) > MAX_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def _asked_tokens(self, one: Prompt) -> list[int]:
        fixed = self._rendered(list(one.fixed))
        whole = self._rendered([*one.fixed, one.asked], add_generation_prompt=True)
        assert whole.startswith(fixed), "a chat template that rewrites earlier messages"
        # The model continues a sentence that already names the right item.
        return self._tokens(whole[len(fixed) :] + one.opening)

    def _rendered(self, messages: list[dict[str, str]], **how: Any) -> str:
        text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, **how)
        return text

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _tensor(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self._device)


def _chosen(logits_BV: Tensor, random: torch.Generator | None) -> Tensor:
    """The likeliest token of each row, or one drawn from the likely ones (nucleus sampling,
    Holtzman et al. 2020)."""
    if random is None:
        return logits_BV.argmax(-1)
    sorted_BV, order_BV = torch.softmax(logits_BV.float() / TEMPERATURE, -1).sort(descending=True)
    before_BV = sorted_BV.cumsum(-1) - sorted_BV
    drawn_B1 = torch.multinomial(sorted_BV * (before_BV < TOP_P), 1, generator=random)
    return order_BV.gather(1, drawn_B1)[:, 0]


def is_over(text: str, names: Sequence[str] = ()) -> bool:
    """Whether a first sentence is complete: nothing after it would be shown."""
    line = text.lstrip()
    return "\n" in line or len(first_sentence(line, names)) < len(line.rstrip())


def first_sentence(text: str, names: Sequence[str] = ()) -> str:
    """Up to the first full stop that ends a line or is followed by a space and a capital, and that
    belongs to none of the names.

    >>> first_sentence("We suggest Panic! At the Disco. It is new.", ["Panic! At the Disco"])
    'We suggest Panic! At the Disco.'
    """
    line = text.strip().split("\n")[0]
    read = _without_names(line, names)
    for position, char in enumerate(read):
        if char not in SENTENCE_ENDS:
            continue
        rest = read[position + 1 :]
        if char in "。！？" or not rest.strip() or (rest[0] == " " and rest.lstrip()[0].isupper()):
            return line[: position + 1]
    return line


def _without_names(line: str, names: Sequence[str]) -> str:
    """The line with capitals in the place of names, also of one that has only begun at its end."""
    for name in names:
        line = line.replace(name, "X" * len(name))
        begun = next((n for n in range(len(name) - 1, 0, -1) if line.endswith(name[:n])), 0)
        line = line[: len(line) - begun] + "X" * begun
    return line
