"""Runs the planted cases through an offline store and judges its answers.

In: the repo's views and the settings of its offline store. Out: for each view what every case
found. Registry, online store and data are temporary: nothing of the repo is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from feast import FeatureStore, RepoConfig
from feast.infra.offline_stores.offline_utils import get_offline_store_from_config
from feast.types import String
from tqdm import tqdm

from feature_repo.plugins.doctor.cases import Case, cases_of, names_case, together_case
from feature_repo.plugins.doctor.plant import (
    Planted,
    can_plant,
    entity_frame,
    entity_sql,
    plant,
    plant_features,
)
from feature_repo.plugins.doctor.verdict import Verdict, failure, judge
from feature_repo.plugins.doctor.views import CheckedView, Shape

_READ_FILES = {"DaskOfflineStore", "DuckDBOfflineStore", "RayOfflineStore"}
"""Feast's own stores that read Parquet; the others read tables of a warehouse or a server."""

_TRIES = 2  # a Ray store may have to start Ray, which gives up after 30 s on a busy machine

_CLUSTER = ("ray_address", "use_kuberay", "cluster_name", "kuberay_conf")
"""Settings of clusters, whose workers would not see the planted files."""

_WRITTEN = ("shard_dir", "storage_path")
"""Settings of folders that results are written to."""


@dataclass(frozen=True)
class Finding:
    """What one case showed."""

    case: str
    harm: str
    verdict: Verdict


@dataclass(frozen=True)
class ViewReport:
    """A view and what was found about it, in the order of the cases."""

    view: CheckedView
    findings: tuple[Finding, ...]

    @property
    def at_risk(self) -> bool:
        """Whether the store loses or leaks rows of this view."""
        return any(finding.verdict.kind == "fails" for finding in self.findings)


class Trials:
    """One offline store, on a registry of its own in `folder`."""

    def __init__(self, offline_store: dict[str, Any], folder: Path) -> None:
        self.left_out = [name for name in _CLUSTER if offline_store.get(name)]
        self._folder = folder
        self._settings = _on_this_machine(offline_store, folder)
        self._store = self._open(self._settings)
        self._planted = 0
        # On a terminal only. Some stores take seconds a case.
        self._progress = tqdm(unit=" cases", leave=False, disable=None)
        self.offline_store = get_offline_store_from_config(self._store.config.offline_store)

    def why_not(self) -> str | None:
        """Why this store cannot be checked with planted files, if it cannot."""
        store = type(self.offline_store)
        if store.__module__.startswith("feast.") and store.__name__ not in _READ_FILES:
            return f"{store.__name__} reads no Parquet files, and the doctor writes no other tables"
        # A store that cannot answer the plainest question is set up wrongly, or not for files.
        shape = Shape((("doctor_key", String),), None, "event_at", None, ())
        plainest = plant(names_case(shape), shape, self._name(), self._folder)
        for _ in range(_TRIES):
            try:
                self._ask([plainest])
            except Exception as error:  # noqa: BLE001  # a store may raise anything
                said = f"{type(error).__name__}: {shorten(' '.join(str(error).split()), 200)}"
            else:
                return None
        return f"{store.__name__} cannot be asked at all ({said})"

    def check(self, views: Sequence[CheckedView]) -> list[ViewReport]:
        """Every case on every shape of view, and the features of every view."""
        shapes = list(dict.fromkeys(view.shape for view in views))
        with self._progress:
            of_shape = {shape: tuple(self._check_shape(shape, shapes)) for shape in shapes}
            return [ViewReport(view, (*of_shape[view.shape], *self._names(view))) for view in views]

    def _check_shape(self, shape: Shape, shapes: Iterable[Shape]) -> Iterator[Finding]:
        for case in cases_of(shape):
            if case.past_broadcast and "broadcast_join_threshold_mb" not in self._settings:
                continue
            yield self._try(plant(case, shape, self._name(), self._folder))
        for other in shapes:
            if set(other.key_names) - set(shape.key_names):
                ours, theirs = together_case(shape, other)
                yield self._try(
                    plant(ours, shape, self._name(), self._folder),
                    plant(theirs, other, self._name(), self._folder),
                )
                return

    def _names(self, view: CheckedView) -> Iterator[Finding]:
        case = names_case(view.shape)
        yield self._try(plant_features(case, view, self._name(), self._folder))
        left_out = [name for name, kind in view.features if not can_plant(kind)]
        if left_out:
            reason = f"no planted values of the type of {', '.join(left_out)}"
            yield Finding(f"{case.name}: others", case.harm, Verdict("not checked", reason))

    def _name(self) -> str:
        self._planted += 1
        return f"planted_{self._planted}"

    def _try(self, *planted: Planted) -> Finding:
        """Ask for views that are planted with the same labels; the worse verdict counts."""
        case = planted[0].case
        self._progress.update()
        try:
            verdicts = self._ask(planted)
        except Exception as error:  # noqa: BLE001  # whatever a store raises is the finding
            verdicts = [failure(planted[0], error)]
        worst = next((verdict for verdict in verdicts if verdict.kind == "fails"), verdicts[0])
        return Finding(case.name, case.harm, worst)

    def _ask(self, planted: Sequence[Planted]) -> list[Verdict]:
        case = planted[0].case
        self._store.apply(
            [thing for one in planted for thing in (*one.entities(), one.view, one.service())]
        )
        together = len(planted) > 1
        result = (
            self._store_for(case)
            .get_historical_features(
                entity_sql(planted[0]) if case.as_sql else entity_frame(planted),
                [f"{one.view.name}:{name}" for one in planted for name in one.features]
                if together
                else self._store.get_feature_service(planted[0].service().name),
                full_feature_names=together,
                # Older stores do not know the argument: it is passed only where it is the point.
                **({"filter_by_created_timestamp": True} if case.created_cutoff else {}),
            )
            .to_df()
        )
        return [judge(one, result, f"{one.view.name}__" if together else "") for one in planted]

    def _store_for(self, case: Case) -> FeatureStore:
        if not case.past_broadcast:
            return self._store
        # Feast broadcasts a view up to so many MB; below zero every view is above.
        return self._open({**self._settings, "broadcast_join_threshold_mb": -1})

    def _open(self, offline_store: dict[str, Any]) -> FeatureStore:
        config = RepoConfig(
            project="doctor",
            provider="local",
            registry=str(self._folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(self._folder / "online.db")},
            offline_store=offline_store,
            repo_path=self._folder,
            entity_key_serialization_version=3,
        )
        return FeatureStore(config=config)


def _on_this_machine(offline_store: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings, for this machine and the temporary folder alone."""
    local: dict[str, Any] = {name: None for name in (*_CLUSTER, *_WRITTEN) if name in offline_store}
    if "storage_path" in local:
        local |= {"storage_path": str(folder / "storage")}  # Feast's Ray store insists on one
    if "ray_conf" in offline_store:
        # Feast's; without an address Ray joins whatever cluster runs on this machine.
        local["ray_conf"] = {**(offline_store["ray_conf"] or {}), "address": "local"}
    if offline_store.get("engine") == "ray" or (
        "engine" in offline_store and offline_store["ray_address"]
    ):
        local |= {"engine": "ray", "ray_address": "local"}  # ours: still over Ray
    return {**offline_store, **local}
