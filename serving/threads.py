"""Threads: how many cores a replica computes on.

A request is hundreds of small operations. Shared among threads they wait for each other at each
one, and where a core is busy with something else they wait for that (docs/adr/0018).
"""

import ray
import torch
from threadpoolctl import threadpool_limits

from serving.gate import in_a_replica


def limit_threads(num: int | None) -> None:
    """Torch and BLAS compute on so many threads in this process from now on. None is for as many
    as the CPUs that Ray gave the replica; outside of one nothing changes then."""
    if num is None and in_a_replica():
        num = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    if num is not None:
        torch.set_num_threads(num)
        threadpool_limits(num, user_api="blas")
