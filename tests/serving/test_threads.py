"""A replica computes on as many threads as it was told, in torch and in BLAS."""

import subprocess
import sys

import pytest

SHOW = """
import numpy, torch
from threadpoolctl import threadpool_info
from serving.threads import limit_threads
limit_threads({num})
blas = {{one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}}
print(torch.get_num_threads(), *blas)
"""


@pytest.mark.parametrize("num", [1, 2])
def test_both_take_the_number(num: int) -> None:
    """In a process of its own: the number stays for good."""
    command = [sys.executable, "-c", SHOW.format(num=num)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(num), str(num)]
