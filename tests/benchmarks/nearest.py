"""Nearest items by several libraries: `python -m tests.benchmarks.nearest --json OUT`.

In: a size. Out: for each contestant recall@k against exact search, latency, build time and memory,
on unit vectors drawn from a mixture: iid noise has no neighbours worth finding and would be unfair
to all but exact search. A query is the mean of a few items of one group, as a history's is. Install
what is to be compared (`pip install hnswlib usearch`); what is missing is said and left out.
"""

# Shapes: I items, D width, Q queries, G groups, F directions in which a group spreads

import argparse
import ctypes
import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Search = Callable[[Vectors, int], Ids]
BLOCK = 50_000
ITEMS_A_QUERY = 5
SAMPLE = 100_000  # vectors that the centres of lists are learnt from


def draw(num_items: int, width: int, num_queries: int, seed: int) -> tuple[Vectors, Vectors]:
    """Items [I, D] in groups whose sizes fall as 1 / rank, and queries [Q, D]; all unit vectors."""
    rng = np.random.default_rng(seed)
    num_groups, num_directions = max(num_items // 500, 8), min(width, 32)
    share_G = 1.0 / np.arange(1, num_groups + 1)
    group_I = np.sort(rng.choice(num_groups, num_items, p=share_G / share_G.sum()))
    centre_GD = rng.standard_normal((num_groups, width), np.float32) / np.sqrt(width)
    spread_FD = rng.standard_normal((num_directions, width), np.float32) / np.sqrt(width)
    items_ID = np.empty((num_items, width), np.float32)
    for start in range(0, num_items, BLOCK):
        group_b = group_I[start : start + BLOCK]
        own_bF = rng.standard_normal((len(group_b), num_directions), np.float32)
        drawn_bD = centre_GD[group_b] + own_bF @ spread_FD * np.float32(0.7 / num_directions**0.5)
        items_ID[start : start + BLOCK] = unit(drawn_bD)
    first_Q = rng.integers(0, num_items - 50, num_queries)
    near_QN = first_Q[:, None] + rng.integers(0, 50, (num_queries, ITEMS_A_QUERY))
    return items_ID, unit(items_ID[near_QN].mean(axis=1))


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def exact(items_ID: Vectors) -> Search:
    """All products, then a partition."""

    def search(query_D: Vectors, k: int) -> Ids:
        scores_I = items_ID @ query_D
        best = np.argpartition(-scores_I, k)[:k]
        return best[np.argsort(-scores_I[best])]

    return search


def faiss_index(
    description: str, probes: int, beam: int = 0, more: int = 1
) -> Callable[[Vectors], Search]:
    """Of faiss, by its own description of an index; built in blocks, from a sample. Of `more` times
    as many as are wanted exact products choose."""

    def build(items_ID: Vectors) -> Search:
        import faiss

        index: Any = faiss.index_factory(items_ID.shape[1], description, faiss.METRIC_INNER_PRODUCT)
        rows = np.random.default_rng(0).permutation(len(items_ID))[:SAMPLE]
        index.train(items_ID[np.sort(rows)])
        if beam:
            index.hnsw.efConstruction, index.hnsw.efSearch = 100, beam
        else:
            faiss.extract_index_ivf(index).nprobe = probes
        for start in range(0, len(items_ID), BLOCK):
            index.add(items_ID[start : start + BLOCK])

        def search(query_D: Vectors, k: int) -> Ids:
            found = index.search(query_D[None], more * k)[1][0]
            found = found[found >= 0]
            if more > 1:
                found = found[np.argsort(-(items_ID.take(found, axis=0) @ query_D))[:k]]
            return np.asarray(found, np.int64)

        return search

    return build


def usearch_index(storage: str, beam: int) -> Callable[[Vectors], Search]:
    def build(items_ID: Vectors) -> Search:
        index = import_module("usearch.index").Index(
            ndim=items_ID.shape[1],
            metric="ip",
            dtype=storage,
            connectivity=16,
            expansion_add=100,
            expansion_search=beam,
        )
        index.add(np.arange(len(items_ID)), items_ID, threads=threads())
        return lambda query_D, k: np.asarray(index.search(query_D, k).keys).astype(np.int64)

    return build


def hnswlib_index(beam: int) -> Callable[[Vectors], Search]:
    def build(items_ID: Vectors) -> Search:
        index = import_module("hnswlib").Index("ip", items_ID.shape[1])
        index.init_index(len(items_ID), ef_construction=100, M=16)
        index.set_num_threads(threads())
        index.add_items(items_ID)
        index.set_ef(beam)
        return lambda query_D, k: index.knn_query(query_D, k)[0][0].astype(np.int64)

    return build


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def contestants(num_items: int, width: int) -> dict[str, tuple[str, Callable[[Vectors], Search]]]:
    """By name: the module that it needs, and how it is built."""
    lists = max(2 ** int(np.log2(4 * num_items**0.5)), 16)
    found: dict[str, tuple[str, Callable[[Vectors], Search]]] = {"exact float32": ("numpy", exact)}
    for probes in (16, 32, 64, 128):
        for storage in ("SQfp16", "SQ8"):
            name = f"faiss IVF{lists} {storage}, {probes} probes"
            found[name] = ("faiss", faiss_index(f"IVF{lists},{storage}", probes))
        scanned = f"faiss IVF{lists} 4 bits a direction, {probes} probes"
        build = faiss_index(f"IVF{lists},PQ{width}x4fsr", probes, more=3)
        found[scanned] = ("faiss", build)
    reduced = f"PCA64,IVF{lists},SQfp16"
    found[f"faiss {reduced}, 64 probes"] = ("faiss", faiss_index(reduced, 64, more=3))
    found["faiss HNSW16 SQ8, beam 200"] = ("faiss", faiss_index("HNSW16_SQ8", 0, 200))
    for storage in ("f16", "i8"):
        found[f"usearch {storage}, beam 200"] = ("usearch", usearch_index(storage, 200))
    found["hnswlib float32, beam 200"] = ("hnswlib", hnswlib_index(200))
    return found


def measure(build: Callable[[Vectors], Search], items: Vectors, queries: Vectors, k: int) -> Any:
    """Build time, memory, latency a query, and what was found. CPU time tells more than the clock
    where other work runs beside."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the one before gave back is the system's again
    before, started = psutil.Process().memory_info().rss, time.process_time()
    search = build(items)
    built_s = time.process_time() - started
    grown = psutil.Process().memory_info().rss - before
    milliseconds, of_cpu, found = [], [], []
    for query_D in queries:
        started, busy = time.perf_counter(), time.process_time()
        found.append(search(query_D, k))
        of_cpu.append(1e3 * (time.process_time() - busy))
        milliseconds.append(1e3 * (time.perf_counter() - started))
    figures = {
        "build_cpu_s": built_s,
        "memory_mb": grown / 2**20,
        "cpu_p50_ms": float(np.percentile(of_cpu, 50)),
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
    }
    return figures, found


def recall(found: Sequence[Ids], expected: Sequence[Ids]) -> float:
    """Mean share of the exact answer that was found."""
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / len(other) for one, other in pairs]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.nearest", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--items", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--width", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--queries", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--k", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="words of which a name must have one")
    given = parser.parse_args(arguments)
    items, queries = draw(given.items, given.width, given.queries, given.seed)
    expected: list[Ids] = []
    table = {}
    for name, (module, build) in contestants(given.items, given.width).items():
        if expected and given.only and not any(word in name for word in given.only):
            continue
        if find_spec(module) is None:
            print(f"{name}: {module} is not installed, left out", flush=True)
            continue
        figures, found = measure(build, items, queries, given.k)
        expected = expected or found
        table[name] = {"recall": recall(found, expected), **figures}
        print(name, {key: round(value, 4) for key, value in table[name].items()}, flush=True)
    record = {"flags": vars(given) | {"json": str(given.json)}, "threads": threads()}
    given.json.write_text(json.dumps(record | {"contestants": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
