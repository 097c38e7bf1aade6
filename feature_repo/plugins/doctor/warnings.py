"""What can be said of a repo without running anything: warnings, never failures.

In: the repo's configuration and views. Out: sentences. Each is checked against the configuration,
the definitions or the schema of a file; none is guessed.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from feast import RepoConfig
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore

from feature_repo.plugins.doctor.views import CheckedView

_SHORTEST_CACHE_S = 600


def warnings_of(
    config: RepoConfig, store: type[OfflineStore], views: Sequence[CheckedView]
) -> list[str]:
    """Everything worth knowing about these definitions, this configuration and offline store."""
    found = [
        _of_views(
            [view for view in views if view.shape.ttl and view.served_online],
            "the ttl is not enforced when features are read online (feast#6821): a value that "
            "training no longer sees is still served",
        ),
        _of_views(
            [view for view in views if not view.shape.created_column],
            "the source has no created timestamp column: rows that arrive late cannot be told "
            "from rows known in time, and filter_by_created_timestamp has no effect",
        ),
        _registry(config),
    ]
    # Of the class itself: a store built on it may read its sources in its own way.
    if store is DuckDBOfflineStore:
        found += _of_duckdb(config, views)
    return [warning for warning in found if warning]


def _of_duckdb(config: RepoConfig, views: Sequence[CheckedView]) -> list[str]:
    relative = [view for view in views if _local_path(view) and not _absolute(view)]
    warnings = [
        _of_views(
            relative,
            "the source's path is relative: the duckdb store counts it from the working "
            "directory, Feast's file store from the repo; make it absolute",
        )
    ]
    if int(duckdb.__version__.split(".")[0]) >= 2:
        nanoseconds = [view for view in views if _has_nanoseconds(config, view)]
        what = "DuckDB 2 cannot cast its timestamp[ns] when materialising; write microseconds"
        warnings.append(_of_views(nanoseconds, what))
    return warnings


def _registry(config: RepoConfig) -> str:
    registry = config.registry
    # 0 means: never refreshed.
    if registry.registry_type != "file" or not 0 < registry.cache_ttl_seconds < _SHORTEST_CACHE_S:
        return ""
    return (
        f"registry: cache_ttl_seconds is {registry.cache_ttl_seconds}; a file registry drops "
        f"uncommitted changes when its cache expires during an apply (feast#6663); use "
        f"{_SHORTEST_CACHE_S} or more"
    )


def _of_views(views: Sequence[CheckedView], what: str) -> str:
    return f"{', '.join(view.name for view in views)}: {what}" if views else ""


def _local_path(view: CheckedView) -> str:
    is_file = isinstance(view.source, FileSource) and "://" not in view.source.path
    return view.source.path if is_file else ""


def _absolute(view: CheckedView) -> bool:
    return Path(_local_path(view)).is_absolute()


def _has_nanoseconds(config: RepoConfig, view: CheckedView) -> bool:
    path = Path(config.repo_path) / _local_path(view)
    if not _local_path(view) or not path.is_file() or path.suffix != ".parquet":
        return False
    schema = pq.read_schema(path)
    return any(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in schema.types)
