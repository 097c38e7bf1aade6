"""Item pushes: rows of item views that came since a snapshot was taken, in one append-only file.

In: pushed rows. Out: the same rows in the same order to every replica and to the next snapshot, one
JSON object a line. A writer holds the file's lock; a reader takes the whole lines that it has not
had, so a row shows in the next answer of each replica and is there again after a restart.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.pointer import durable
from training.plain_rows import Row


@dataclass(frozen=True)
class ItemPush:
    view: str
    item_id: str
    at_us: int
    """Event time; of two rows the later one counts, whichever came first."""
    row: Row
    """The whole row: what it does not name is null."""


def pushes_beside(bundle: Path) -> Path:
    """Where the rows are that were pushed to servers started with this bundle or pointer."""
    return bundle.parent / "item_pushes.jsonl"


def append(path: Path, push: ItemPush) -> None:
    """Returns when the row is on the disk. What a writer that died left unfinished goes."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cut_unfinished_line(path)
        file.write((json.dumps(asdict(push), ensure_ascii=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        durable(path.parent)


def cut_unfinished_line(path: Path) -> None:
    """What follows the last whole line was never acknowledged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        if file.read() in (b"", b"\n"):
            return
        file.seek(0)
        os.truncate(path, file.read().rfind(b"\n") + 1)


class PushReader:
    """Reads the file from its beginning, each row once. A missing file has no rows."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def new(self) -> list[ItemPush]:
        """Rows appended since the last call; where there are none it costs a look at the size.

        ValueError names a line that is no row.
        """
        try:
            if self.path.stat().st_size <= self._offset:
                return []
        except FileNotFoundError:
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        return [self._push(line) for line in lines]

    def _push(self, line: bytes) -> ItemPush:
        try:
            push = ItemPush(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{self.path}, byte {self._offset} begins no pushed row: {error}; take the line out"
            ) from error
        self._offset += len(line)
        return push
