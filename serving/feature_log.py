"""Feature log: what the model was served for a share of requests, through Feast's feature logging.

In: slates. Out: a row for each item of a slate, with the values that the user and the item had, in
the schema and at the destination that the feature service declares. Rows are made and written in a
thread of its own; where it falls behind, slates are dropped and counted, never waited for. What is
logged is Parquet in a folder (feature_repo/services.py says where), a source like any other.
"""

import atexit
import logging
import queue
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from feast import FeatureService, FeatureStore
from feast.feature_logging import FeatureServiceLoggingSource

from serving.metrics import LOGGED_VECTORS, add
from serving.ranker import Slate
from serving.snapshot import Snapshot
from serving.timing import PASSAGE
from training.plain_rows import Row

logger = logging.getLogger("ray.serve")
MAX_WAITING = 256  # slates
WRITE_EVERY_S = 10.0
# Of Feast's FieldStatus.
PRESENT, NULL_VALUE, NOT_FOUND = 1, 2, 3


@dataclass(frozen=True)
class Served:
    """One slate, and what it was made from."""

    slate: Slate
    snapshot: Snapshot
    request_id: str
    at: datetime

    def rows(self, schema: pa.Schema) -> Iterator[dict[str, object]]:
        """A row for each item, of every column but those that Feast has no value for."""
        for item in self.slate.items:
            found: dict[str, Row | None] = {**self.slate.user.rows}
            for view, own in self.snapshot.views.items():
                found[view] = own.row(item.position)
            yield {
                "user_id": self.slate.user.user_id,
                "item_id": item.evidence.item_id,
                **logged(schema, found),
                "__log_timestamp": self.at,
                "__log_date": self.at.date(),
                "__request_id": self.request_id,
            }


def logged(schema: pa.Schema, found: dict[str, Row | None]) -> dict[str, object]:
    """The values of one row's views as Feast names them, each with its status."""
    values: dict[str, object] = {}
    for name in schema.names:
        view, _, feature = name.partition("__")
        if not view or not feature or feature.endswith(("__timestamp", "__status")):
            continue
        row = found.get(view)
        value = row.get(feature) if row else None
        values[name] = value
        there = NULL_VALUE if value is None else PRESENT
        values[f"{name}__status"] = there if row else NOT_FOUND
    return values


class FeatureLog:
    """Takes a share of slates; its thread begins with the first."""

    def __init__(
        self, repo: Path, service: str, share: float, max_waiting: int = MAX_WAITING
    ) -> None:
        """ValueError for a service that declares nowhere to log to, where a share is wanted."""
        self._share = share
        self._waiting: queue.Queue[Served] = queue.Queue(max_waiting)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if share:
            self._store = FeatureStore(repo_path=str(repo))  # requests do not share its connection
            self._service = logged_service(self._store, service)
            source = FeatureServiceLoggingSource(self._service, self._store.project)
            self._schema: pa.Schema = source.get_schema(self._store.registry)

    def offer(self, slate: Slate, snapshot: Snapshot) -> None:
        """Log the slate, if it is of the share and there is room; never waits."""
        if not self._share or random.random() >= self._share:
            return
        passage = PASSAGE.get()
        request_id = passage.request_id if passage is not None else ""
        try:
            self._waiting.put_nowait(Served(slate, snapshot, request_id, datetime.now(UTC)))
        except queue.Full:
            add(LOGGED_VECTORS, len(slate.items), outcome="dropped")
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._keep_writing, name="feature log", daemon=True
            )
            self._thread.start()
            atexit.register(self.close)

    def close(self) -> None:
        """Returns when what was taken is written."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.write()

    def write(self) -> None:
        """Write what waits. Rows that cannot be written are counted and given up."""
        served = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        rows = [row for one in served for row in one.rows(self._schema)]
        if not rows:
            return
        try:
            table = pa.Table.from_pylist(rows, schema=self._schema)
            self._store.write_logged_features(table, self._service)
        except Exception as error:  # noqa: BLE001  a log that fails must not end the thread
            logger.warning("%d served vectors were not logged: %s", len(rows), type(error).__name__)
            add(LOGGED_VECTORS, len(rows), outcome="failed")
        else:
            add(LOGGED_VECTORS, len(rows), outcome="written")

    def _keep_writing(self) -> None:
        while not self._closing.wait(WRITE_EVERY_S):
            self.write()


def logged_service(store: FeatureStore, name: str) -> FeatureService:
    service: FeatureService = store.get_feature_service(name)
    if service.logging_config is None:
        raise ValueError(
            f"feature_logging_share is set, but the feature service {name!r} has no "
            "logging_config; give it one in feature_repo/services.py and run "
            "`feast -c feature_repo apply`"
        )
    return service
