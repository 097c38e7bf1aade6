"""Runs functions as Ray tasks that are done again when their worker or node is lost.

In: a pure function and its arguments. Out: references to its results. Imports no Feast: a worker
that runs these tasks must start quickly.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import ray

_RETRIES = 5  # of lost workers; a task that ends each of them is not worth more
Reference = Any  # ray.ObjectRef, which is untyped


def connect(address: str | None) -> None:
    """Use the Ray of this process, or join one, or start one ("local"); leave it running.

    address None: the cluster that RAY_ADDRESS names or that runs here, else a local one.
    """
    if not ray.is_initialized():
        ray.init(address, logging_level=logging.ERROR)


def submit(function: Callable[..., Sequence[Any]], count: int, *arguments: Any) -> list[Reference]:
    """References to the `count` results that the function returns as a sequence."""
    if count == 1:
        return [submit_one(_only, function, *arguments, name=function.__name__)]
    options = {"name": function.__name__, "num_returns": count}
    references: list[Reference] = _task(function).options(**options).remote(*arguments)
    return references


def submit_one(function: Callable[..., Any], *arguments: Any, name: str | None = None) -> Reference:
    """A reference to the function's result."""
    return _task(function).options(name=name or function.__name__).remote(*arguments)


def collect(references: Sequence[Reference]) -> list[Any]:
    """The results, for small ones only: they all come here. A task's own error is raised."""
    try:
        results: list[Any] = ray.get(list(references))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    return results


@cache
def _task(function: Callable[..., Any]) -> Any:
    return ray.remote(max_retries=_RETRIES)(function)


def _only(function: Callable[..., Sequence[Any]], *arguments: Any) -> Any:
    (result,) = function(*arguments)
    return result
