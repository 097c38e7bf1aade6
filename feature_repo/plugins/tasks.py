"""Who runs the steps of a partitioned join and keeps what they yield: Ray's workers, or one process
and a folder of files.

Steps are pure functions of their arguments. References stand for results in other steps' arguments.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Reference = Any  # to a result; Ray's own are untyped


class Tasks(Protocol):
    """Runs functions; their results stay where they are until somebody collects them."""

    @property
    def num_cpus(self) -> int:
        """Steps that run at one time."""

    def put(self, value: Any) -> Reference:
        """A reference to a value of this process."""

    def submit(
        self, function: Callable[..., Sequence[Any]], count: int, *arguments: Any
    ) -> list[Reference]:
        """References to the `count` results that the function returns as a sequence."""

    def submit_one(self, function: Callable[..., Any], *arguments: Any) -> Reference:
        """A reference to the function's result."""

    def collect(self, references: Sequence[Reference]) -> list[Any]:
        """The results, for small ones only: they all come here. A step's own error is raised."""

    def result_folder(self) -> str:
        """A new folder that all steps reach, gone with this process."""


def temporary_folder(parent: str | None) -> str:
    """A new folder for results, gone with this process; parent None: the system's own place."""
    folder = tempfile.mkdtemp(prefix="point_in_time_", dir=parent)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
