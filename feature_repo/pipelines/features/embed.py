"""Embed the texts that the cache does not know: in this process, or over Ray Data actors.

Takes the file of distinct texts, fills the cache, keeps nothing else.
"""

# Shapes: N texts, D width of the vectors.

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from feature_repo.pipelines.features.embedding_cache import EmbeddingCache, Floats, Hashes
from feature_repo.pipelines.features.encoder import HuggingFaceEncoder, TextEncoder
from feature_repo.pipelines.features.options import FeatureOptions

CHUNK_TEXTS = 1_024  # a cache file and a step of the progress bar; some seconds on two cores
"""Texts between two writes to the cache: what a stopped build loses at most."""


def embed_new_texts(
    texts_path: Path, cache: EmbeddingCache, encoder: TextEncoder, options: FeatureOptions
) -> int:
    """Give each text of `texts_path` (text_hash, text) a cached vector; return how many were new.

    ValueError when another encoder than Hugging Face's is to run on Ray.
    """
    hashes = np.unique(pq.read_table(texts_path, columns=["text_hash"])["text_hash"].to_numpy())
    new = hashes[cache.missing(hashes)]
    if not len(new):
        return 0
    embedded = (
        _over_ray(texts_path, new, encoder, options)
        if options.text_engine == "ray"
        else _here(texts_path, new, encoder)
    )
    with tqdm(total=len(new), desc="embedding texts", unit="text") as progress:
        for some_hashes, vectors in embedded:
            cache.add(some_hashes, vectors)
            progress.update(len(some_hashes))
    return len(new)


def _here(texts_path: Path, new: Hashes, encoder: TextEncoder) -> Iterator[tuple[Hashes, Floats]]:
    for chunk in _new_texts(texts_path, new):
        yield chunk["text_hash"].to_numpy(), encoder.encode(chunk["text"].to_pylist())


def _new_texts(texts_path: Path, new: Hashes) -> Iterator[pa.Table]:
    """Tables (text_hash, text) of up to `CHUNK_TEXTS` new texts, each text once."""
    todo = np.ones(len(new), np.bool_)
    kept: list[pa.RecordBatch] = []
    with pq.ParquetFile(texts_path) as file:
        for batch in file.iter_batches(CHUNK_TEXTS, columns=["text_hash", "text"]):
            hashes, first = np.unique(batch.column("text_hash").to_numpy(), return_index=True)
            at = np.minimum(np.searchsorted(new, hashes), len(new) - 1)
            chosen = (new[at] == hashes) & todo[at]
            todo[at[chosen]] = False
            kept.append(batch.take(pa.array(np.sort(first[chosen]))))
            if sum(part.num_rows for part in kept) >= CHUNK_TEXTS:
                yield pa.Table.from_batches(kept).combine_chunks()
                kept = []
    if sum(part.num_rows for part in kept):
        yield pa.Table.from_batches(kept).combine_chunks()


class EmbeddingActor:
    """One encoder on one worker; Ray Data calls it with batches (text_hash, text)."""

    def __init__(self, model: str, batch_texts: int | None, adapter: Path | None) -> None:
        self.encoder = HuggingFaceEncoder(model, batch_texts=batch_texts, adapter=adapter)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with `vector` [N, D] in place of `text`."""
        return {
            "text_hash": batch["text_hash"],
            "vector": self.encoder.encode(list(batch["text"])),
        }


def _over_ray(
    texts_path: Path, new: Hashes, encoder: TextEncoder, options: FeatureOptions
) -> Iterator[tuple[Hashes, Floats]]:
    if not isinstance(encoder, HuggingFaceEncoder):
        raise ValueError(
            f"a {type(encoder).__name__} cannot be made anew on each worker; give a Hugging Face "
            "id or folder as `encoder`, or set text_engine to 'local'"
        )
    import ray  # only this engine needs it

    if not ray.is_initialized():
        ray.init()
    resources = ray.cluster_resources()
    num_gpus = int(resources.get("GPU", 0))
    # Without GPUs, one CPU stays free: Ray Data waits for ever when actors hold them all.
    num_actors = num_gpus or max(1, int(resources.get("CPU", 1)) - 1)
    # Texts go through the object store in a few large blocks: workers need not see this disk.
    blocks = ray.data.from_arrow(list(_new_texts(texts_path, new)))
    embedded = blocks.map_batches(
        EmbeddingActor,
        fn_constructor_args=(str(encoder.name), options.batch_size, encoder.adapter),
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_gpus=1 if num_gpus else 0,
        batch_size=CHUNK_TEXTS,
    )
    for batch in embedded.iter_batches(batch_size=None, batch_format="numpy"):
        yield batch["text_hash"].astype(np.uint64), np.stack(batch["vector"]).astype(np.float32)
