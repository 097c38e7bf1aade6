"""The sources we can read. An adapter only parses and maps; clean.py judges what it hands over.

To add one: write `adapters/NAME.py` with a function `read(source, sink, options) -> RawInfo` and
enter it in `ADAPTERS`.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from feature_repo.pipelines.raw import RawInfo, RawSink


class Adapter(Protocol):
    """Reads a source (a folder or file; None where the adapter makes its own data) into a sink."""

    def __call__(
        self, source: Path | None, sink: RawSink, options: Mapping[str, object]
    ) -> RawInfo: ...


def _adapter(module: str) -> Adapter:
    """The adapter in `module`, imported only when it is used."""

    def read(source: Path | None, sink: RawSink, options: Mapping[str, object]) -> RawInfo:
        imported = import_module(f"feature_repo.pipelines.adapters.{module}")
        return cast(RawInfo, imported.read(source, sink, options))

    return read


ADAPTERS: dict[str, Adapter] = {
    "world": _adapter("world"),
    "lastfm": _adapter("lastfm"),
    "movielens": _adapter("movielens"),
    "amazon-beauty": _adapter("amazon_beauty"),
    "tables": _adapter("tables"),
}
