"""The Hugging Face encoder: pooling by hand, padding, order, texts of any kind, wrong names."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_repo.pipelines.features.encoder import (
    HuggingFaceEncoder,
    length_batches,
    mean_pool,
    resolve_model,
)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ODD_TEXTS = [
    "",
    " ",
    "Der Schnee fällt leise",
    "музыка для ночи",
    "夜の音楽",
    "🎸🔥",
    "naïve café",
    "a" * 3_000,
    "word " * 5_000,
    "short",
]


@pytest.fixture(scope="module")
def encoder() -> HuggingFaceEncoder:
    return HuggingFaceEncoder("minilm", device="cpu")


def test_mean_pool_by_hand() -> None:
    hidden_BLD = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [99.0, 99.0]], [[0.0, 5.0]] * 3])
    mask_BL = torch.tensor([[True, True, False], [True, True, True]])
    expected = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    torch.testing.assert_close(mean_pool(hidden_BLD, mask_BL), expected)


def test_mean_pool_of_nothing_is_zero() -> None:
    pooled_BD = mean_pool(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool))
    assert pooled_BD.tolist() == [[0.0, 0.0, 0.0]]


def test_vectors_equal_transformers_one_text_at_a_time(encoder: HuggingFaceEncoder) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = str(encoder.folder)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts = ["shoegaze", "Toy Story (1995). Adventure, Animation, Children", ODD_TEXTS[2]]
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        with torch.inference_mode():
            hidden_LD = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean_D = hidden_LD.mean(dim=0).numpy()
        np.testing.assert_allclose(vector, mean_D / np.linalg.norm(mean_D), atol=1e-5)


def test_padding_and_order_change_no_vector(encoder: HuggingFaceEncoder) -> None:
    small = HuggingFaceEncoder("minilm", device="cpu", batch_texts=1)
    together = encoder.encode(ODD_TEXTS)
    np.testing.assert_allclose(together, small.encode(ODD_TEXTS), atol=1e-5)
    backwards = encoder.encode(ODD_TEXTS[::-1])[::-1]
    np.testing.assert_allclose(together, backwards, atol=1e-5)


def test_any_text_gets_a_finite_unit_vector(encoder: HuggingFaceEncoder) -> None:
    vectors = encoder.encode(ODD_TEXTS)
    assert vectors.shape == (len(ODD_TEXTS), encoder.dims)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_text_gives_no_vector(encoder: HuggingFaceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_a_long_text_is_cut(encoder: HuggingFaceEncoder) -> None:
    head = "guitar " * 300
    ids = encoder.tokenize([head])
    assert [len(row) for row in ids] == [256]
    longer = encoder.encode([head, head + "completely other words at the end"])
    np.testing.assert_allclose(longer[0], longer[1], atol=1e-6)


def test_alike_texts_are_near_each_other(encoder: HuggingFaceEncoder) -> None:
    guitar, rock, tax = encoder.encode(["electric guitar", "rock music", "income tax return"])
    assert guitar @ rock > guitar @ tax + 0.2


def test_batches_cover_each_text_once_and_keep_the_bounds() -> None:
    lengths = np.sort(np.random.default_rng(0).integers(1, 200, 500))[::-1]
    batches = list(length_batches(lengths, batch_tokens=1_000, batch_texts=20))
    assert np.concatenate([np.arange(500)[batch] for batch in batches]).tolist() == [*range(500)]
    for batch in batches:
        num_texts = batch.stop - batch.start
        assert num_texts <= 20
        assert num_texts == 1 or num_texts * lengths[batch.start] <= 1_000


def test_fingerprint_changes_with_what_changes_vectors(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 8}')
    (folder / "model.safetensors").write_bytes(b"one")
    first = HuggingFaceEncoder(str(folder), device="cpu")
    assert first.dims == 8
    assert HuggingFaceEncoder(str(folder), device="cpu").fingerprint == first.fingerprint
    shorter = HuggingFaceEncoder(str(folder), device="cpu", max_tokens=32)
    assert shorter.fingerprint != first.fingerprint
    (folder / "model.safetensors").write_bytes(b"two")
    assert HuggingFaceEncoder(str(folder), device="cpu").fingerprint != first.fingerprint


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        resolve_model(str(tmp_path))


def test_an_unknown_model_is_refused_with_the_command_that_fixes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="hf download nobody/no-such-encoder"):
        resolve_model("nobody/no-such-encoder")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_a_gpu_stays_close_to_the_cpu(encoder: HuggingFaceEncoder) -> None:
    on_gpu = HuggingFaceEncoder("minilm", device="cuda").encode(ODD_TEXTS)
    assert ((on_gpu * encoder.encode(ODD_TEXTS)).sum(axis=1) > 0.99).all()
