"""Pointer: a folder whose link `current` names the version in use, and `previous` the one before.

A link is replaced in one move, so a reader finds the old version or the new one, whenever the
writer dies. One process writes to a folder at a time.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

LinkName = Literal["current", "previous"]


def target(folder: Path, name: LinkName = "current") -> Path | None:
    """What the link names, as an absolute path that need not be there; None without a link."""
    link = folder / name
    return (
        Path(os.path.normpath(folder.absolute() / link.readlink())) if link.is_symlink() else None
    )


def switch(folder: Path, to: Path) -> None:
    """Make `current` name this folder, and `previous` the one that it named; durable."""
    old = target(folder)
    if old is not None and old != to.absolute():
        _link(folder, "previous", old)
    _link(folder, "current", to)
    durable(folder)


def _link(folder: Path, name: LinkName, to: Path) -> None:
    new = folder / f".{name}.new"
    new.unlink(missing_ok=True)  # of a writer that died
    new.symlink_to(os.path.relpath(to.absolute(), folder.absolute()))
    new.replace(folder / name)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing and hold its lock; ValueError where somebody has it.

    The lock goes with its process, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is writing to {folder}; wait for it to end"
            ) from error
        yield


def durable(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
