"""Runs the steps of a partitioned join here, one after another, with their results in files: the
join of what does not fit in memory, which then holds one step's arguments and results.
"""

import io
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_repo.plugins.tasks import temporary_folder


@dataclass(frozen=True)
class Stored:
    """A result in a file."""

    path: Path


class DiskTasks:
    """Tasks of this process; their files go with this object."""

    num_cpus = 1

    def __init__(self, spill_dir: str | None) -> None:
        """spill_dir: None is the system's temporary folder."""
        self._spill_dir = spill_dir
        self._folder = Path(tempfile.mkdtemp(prefix="join_", dir=spill_dir))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._numbers = count()

    def put(self, value: Any) -> Stored:
        path = self._folder / str(next(self._numbers))
        with path.open("wb") as file:
            _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        return Stored(path)

    def submit(
        self, function: Callable[..., Sequence[Any]], count: int, *arguments: Any
    ) -> list[Stored]:
        results = function(*map(_loaded, arguments))
        assert len(results) == count
        return [self.put(result) for result in results]

    def submit_one(self, function: Callable[..., Any], *arguments: Any) -> Stored:
        return self.put(function(*map(_loaded, arguments)))

    def collect(self, references: Sequence[Stored]) -> list[Any]:
        return [_loaded(reference) for reference in references]

    def result_folder(self) -> str:
        return temporary_folder(self._spill_dir)


class _Pickler(pickle.Pickler):
    """Arrow tables by their own format: pickle would write a slice with all it was cut from."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, pa.Table):
            return NotImplemented
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, value.schema) as writer:
            writer.write_table(value)
        return _read_table, (stream.getvalue(),)


def _read_table(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


def _loaded(argument: Any) -> Any:
    if not isinstance(argument, Stored):
        return argument
    with argument.path.open("rb") as file:
        return pickle.load(file)
