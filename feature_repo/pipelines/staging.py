"""A data set folder that is replaced as a whole or not at all.

A build works in `.<name>.building` beside the folder and takes its place at the end, so that one
which fails or is stopped leaves the old data as they were. Between the two renames of the swap
there is no folder; the next build repairs an interruption there.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from feature_repo.pipelines.tables import DataError

# Kept through every build: embeddings that were paid for, looked up by the content of the text.
CACHE = "cache"
MADE_FROM_RAW = ("tables", "quarantine", "report", "truth", "dataset.json")
# Feast's files name what was materialised from the old data; `feast apply` makes them anew.
MADE_LATER = (
    "features",
    "text_model",
    "registry.db",
    "online.db",
    "online.db-wal",
    "online.db-shm",
)


@contextmanager
def staged(out: Path, keep_tables: bool) -> Iterator[Path]:
    """A folder to build in, which replaces `out` when the block ends without an error.

    `keep_tables`: it starts with the tables of `out` (as hard links: they must be replaced, never
    changed in place). Foreign files in `out` move along. Raises `DataError` if `out` is no data set
    folder or another build is writing to it.
    """
    building, replaced = _beside(out, "building"), _beside(out, "replaced")
    finish_swap(out)
    _require_data_folder(out)
    building.mkdir(parents=True, exist_ok=True)
    with _locked(building, out):
        _clear(building)  # what a build that was killed has left
        _link_tree(out / CACHE, building / CACHE)
        for name in MADE_FROM_RAW if keep_tables else ():
            _link_tree(out / name, building / name)
        try:
            yield building
        except BaseException:
            _clear(building)
            with suppress(OSError):  # a cache is worth keeping
                building.rmdir()
            raise
        _move_foreign_files(out, building)
        shutil.rmtree(replaced, ignore_errors=True)
        if out.exists():
            out.rename(replaced)
        building.rename(out)
        shutil.rmtree(replaced, ignore_errors=True)


def finish_swap(out: Path) -> None:
    """Bring the data set back if a build was killed between the two renames of its swap."""
    replaced = _beside(out, "replaced")
    if replaced.exists() and not out.exists():
        replaced.rename(out)


def point_current_at(out: Path) -> None:
    """Make the link `current` beside `out` lead to it, in one step."""
    current = out.parent / "current"
    if out.name == current.name:
        return
    require_link_or_nothing(current)
    temporary = out.parent / f".current.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(out.name)
    temporary.replace(current)


def require_link_or_nothing(current: Path) -> None:
    """`DataError` if `current` is a real folder or file, which a link must not replace."""
    if current.exists() and not current.is_symlink():
        raise DataError(f"{current} is not a link; move it away or build with --no-activate")


def _beside(out: Path, role: str) -> Path:
    return out.parent / f".{out.name}.{role}"


def _require_data_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "dataset.json").is_file():
        raise DataError(
            f"--out {out} has files in it and is not a data set folder (no dataset.json); "
            "give a new folder, since a build replaces the whole of it"
        )


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"another build is writing {out}; wait for it to end") from error
        yield
    finally:
        os.close(handle)


def _clear(building: Path) -> None:
    """Empty the folder but for the cache."""
    for entry in building.iterdir():
        if entry.is_dir() and entry.name != CACHE:
            shutil.rmtree(entry)
        elif not entry.is_dir():
            entry.unlink()


def _link_tree(source: Path, target: Path) -> None:
    if source.is_file():
        os.link(source, target)
    elif source.is_dir():
        for path in source.rglob("*"):
            linked = target / path.relative_to(source)
            linked.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                with suppress(FileExistsError):  # the cache of a stopped build has it already
                    os.link(path, linked)


def _move_foreign_files(out: Path, building: Path) -> None:
    if not out.is_dir():
        return
    for entry in out.iterdir():
        ours = entry.name in (*MADE_FROM_RAW, *MADE_LATER, CACHE) or entry.name.startswith(".")
        if not ours and not (building / entry.name).exists():
            entry.rename(building / entry.name)
