"""Runs functions as Ray tasks that are done again when their worker or node is lost.

In: a pure function and its arguments. Out: references to its results. Imports no Feast: a worker
that runs these tasks must start quickly.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import ray

from feature_repo.plugins.tasks import Reference, temporary_folder

_RETRIES = 5  # of lost workers; a task that ends each of them is not worth more


class RayTasks:
    """Tasks of the Ray that this process uses, or that the address names."""

    def __init__(self, address: str | None) -> None:
        """address None: the cluster that RAY_ADDRESS names or that runs here, else a local one.

        A Ray that this process already uses comes first. It is left running.
        """
        if not ray.is_initialized():
            ray.init(address, logging_level=logging.ERROR)

    @property
    def num_cpus(self) -> int:
        return int(ray.cluster_resources().get("CPU", 1))

    def put(self, value: Any) -> Reference:
        return ray.put(value)

    def submit(
        self, function: Callable[..., Sequence[Any]], count: int, *arguments: Any
    ) -> list[Reference]:
        name = function.__name__
        if count == 1:
            return [_task(_only).options(name=name).remote(function, *arguments)]
        options = {"name": name, "num_returns": count}
        references: list[Reference] = _task(function).options(**options).remote(*arguments)
        return references

    def submit_one(self, function: Callable[..., Any], *arguments: Any) -> Reference:
        return _task(function).options(name=function.__name__).remote(*arguments)

    def collect(self, references: Sequence[Reference]) -> list[Any]:
        try:
            results: list[Any] = ray.get(list(references))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        return results

    def result_folder(self) -> str:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) > 1:
            raise ValueError(
                f"the Ray cluster has {len(nodes)} nodes, which share no temporary folder; set "
                f"shard_dir in the offline_store of feature_store.yaml to a folder or a URI that "
                f"all of them reach"
            )
        return temporary_folder(None)


@cache
def _task(function: Callable[..., Any]) -> Any:
    return ray.remote(max_retries=_RETRIES)(function)


def _only(function: Callable[..., Sequence[Any]], *arguments: Any) -> Any:
    (result,) = function(*arguments)
    return result
