"""Arrays as files: written a few rows at a time, then mapped by every process that reads them.

In: rows of arrays whose shape is known beforehand. Out: .npy files in a folder and, written last,
an index of them: a folder without one is half written and is not opened. The processes of a machine
share one copy in its page cache, which the system may drop and read again.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from feature_repo.pipelines.tables import write_text_atomic

INDEX = "index.json"
# Element types by their names in a safetensors file.
DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}


class ArrayFile:
    """One array on its way to a file, from the first row to the last."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.path = folder / f"{len(list(folder.iterdir())):04}.npy"
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": shape,
        }
        with self.path.open("xb") as file:
            np.lib.format.write_array_header_1_0(file, header)

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write the next rows; a full disk is an OSError, where a mapping would get a signal."""
        assert rows.dtype == self.dtype, f"{rows.dtype} rows for an array of {self.dtype}"
        assert rows.shape[1:] == self.shape[1:], f"rows {rows.shape} for an array {self.shape}"
        with self.path.open("ab") as file:
            rows.tofile(file)


def write_array(
    folder: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, parts: Iterable[npt.NDArray[Any]]
) -> ArrayFile:
    """Write an array from its rows, some at a time."""
    array = ArrayFile(folder, shape, dtype)
    for rows in parts:
        array.append(rows)
    return array


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for the length of the block. What a killed process left there goes first."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        # On NFS the name of a file that is still mapped goes only with the process.
        shutil.rmtree(folder, ignore_errors=True)


def write_index(folder: Path, tree: dict[str, Any]) -> None:
    """Complete a folder: `tree` holds its ArrayFiles in nested dictionaries."""

    def name(array: ArrayFile) -> str:
        return array.path.name

    write_text_atomic(json.dumps(tree, default=name), folder / INDEX)


def map_arrays(folder: Path, mode: Literal["r", "c"] = "r") -> dict[str, Any]:
    """The tree that was written, its leaves arrays over the files' own memory: read-only, or with
    `c` to be written to, where what is written stays in this process."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} holds no finished arrays on this machine; workers on several machines need "
            "a run folder on storage that all of them share"
        ) from error
    return {key: mapped(folder, part, mode) for key, part in index.items()}


def mapped(folder: Path, part: str | dict[str, Any], mode: Literal["r", "c"]) -> Any:
    """A file's array, or those of all files below."""
    if isinstance(part, str):
        return np.asarray(np.load(folder / part, mmap_mode=mode))
    return {key: mapped(folder, below, mode) for key, below in part.items()}


def map_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file, read-only, over the file's own memory: the processes of a
    machine share one copy, where the library's own reader makes one for each."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    content = np.asarray(np.memmap(path, mode="r"))[8 + header_bytes :]
    return {
        name: content[slice(*tensor["data_offsets"])]
        .view(DTYPES[tensor["dtype"]])
        .reshape(tensor["shape"])
        for name, tensor in header.items()
    }
