"""A small project on disk: feature repo, data set and configuration of a random log."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from feature_repo.pipelines.tables import SCHEMAS, table_path
from tests.training_data import tiny

CONFIG = {
    "model": {"width": 16, "fusion": "gated"},
    "run": {"epochs": 2, "batch_size": 32, "negatives": 4, "negative_pool": 2, "workers": 0},
}


def write_project(folder: Path, log: tiny.Log) -> None:
    """A folder with a feature repo, a data set and a configuration."""
    tiny.write_tables(folder / "data", log)
    for name in ("edges", "documents"):
        pq.write_table(pa.Table.from_pylist([], SCHEMAS[name]), table_path(folder / "data", name))
    store = tiny.make_store(folder / "repo", tiny.OURS, tiny.feature_rows(log))
    content = store.config.model_dump(mode="json", include={"project", "provider"})
    content |= {
        "registry": {"path": str(folder / "repo" / "registry.db")},
        "online_store": {"type": "sqlite", "path": str(folder / "repo" / "online.db")},
        "offline_store": {"type": tiny.OURS},
        "entity_key_serialization_version": 3,
    }
    (folder / "repo" / "feature_store.yaml").write_text(yaml.safe_dump(content))
    (folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))


def command(project: Path, name: str, *more: str, **changes: str) -> list[str]:
    """Arguments of `training.train` for a run of that name."""
    given = {
        "repo": str(project / "repo"),
        "data": str(project / "data"),
        "service": "everything",
        "config": str(project / "run.yaml"),
        "out": str(project / name),
    } | changes
    return [part for flag, value in given.items() for part in (f"--{flag}", value)] + list(more)
