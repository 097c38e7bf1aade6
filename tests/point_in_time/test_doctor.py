"""The doctor finds what is wrong with a store, says so, finds nothing where nothing is wrong, and
leaves the repo as it was."""

import hashlib
import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Bytes, Float32, Float64, Int64, Json, String, UnixTimestamp

from feature_repo.plugins.doctor.__main__ import examine, main
from feature_repo.plugins.doctor.report import as_text
from tests.point_in_time.stores import STORE, item, user
from tests.point_in_time.wrong_store import STORE as WRONG_STORE
from tests.point_in_time.wrong_store import Fault

SLATE, LATER, EXPIRED = (
    "labels of one key and instant",
    "only rows from after the label",
    "only expired rows",
)
TOGETHER, NO_KEY, MAP = (
    "together with a view of other keys",
    "a label without key",
    "join-key map on one key of several",
)
NAMES, CORRECTED, SECOND = (
    "every feature comes back",
    "corrected row of one instant",
    "a row from later in the same second",
)
SQL, CUTOFF, ORDER = "entity frame as SQL", "only what was created by then", "labels in any order"


def definitions() -> list[Any]:
    """Views as teams have them: ttl, created, two keys, numbers as keys, mapped and odd names."""
    shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
    return [
        user,
        item,
        shop,
        FeatureView(
            name="user_stats",
            entities=[user],
            ttl=timedelta(days=1),
            schema=[Field(name="visits", dtype=Int64), Field(name="taste", dtype=Array(Float32))],
            source=_source("user_stats", created_timestamp_column="created"),
        ),
        FeatureView(
            name="pair_stats",
            entities=[user, item],
            ttl=None,
            schema=[Field(name="liked", dtype=Bool), Field(name="last_at", dtype=UnixTimestamp)],
            source=_source("pair_stats"),
        ),
        FeatureView(
            name="shop_names",
            entities=[shop],
            ttl=timedelta(0),
            schema=[Field(name="price_y", dtype=Float64), Field(name="two words", dtype=String)],
            source=_source("shop_names", field_mapping={"sid": "shop_id", "p": "price_y"}),
        ),
        FeatureView(
            name="weather",
            entities=[],
            ttl=None,
            schema=[Field(name="map", dtype=Json), Field(name="image", dtype=Bytes)],
            source=_source("weather"),
        ),
    ]


def _source(name: str, **options: Any) -> FileSource:
    # There is no such file: the doctor reads definitions, never data.
    return FileSource(path=f"data/{name}.parquet", timestamp_field="at", **options)


def write_repo(folder: Path, offline_store: dict[str, Any], cache_ttl_seconds: int = 600) -> Path:
    """An applied repo with the definitions above."""
    folder.mkdir(exist_ok=True)
    config = {
        "project": "tiny",
        "provider": "local",
        "registry": {"path": "registry.db", "cache_ttl_seconds": cache_ttl_seconds},
        "online_store": {"type": "sqlite", "path": "online.db"},
        "offline_store": offline_store,
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config))
    FeatureStore(repo_path=str(folder)).apply(definitions())
    return folder


def ask(repo: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report."""
    out = repo.parent / f"{repo.name}.json"
    code = main([str(repo), "--json", str(out), *arguments])
    return code, json.loads(out.read_text())


def cases(report: dict[str, Any], kind: str) -> dict[str, dict[str, str]]:
    """By view, the cases of one kind with their verdicts; views without any are left out."""
    found = {
        view["view"]: {c["case"]: c["verdict"] for c in view["cases"] if c["kind"] == kind}
        for view in report["views"]
    }
    return {view: verdicts for view, verdicts in found.items() if verdicts}


def test_our_store_is_healthy_on_the_real_definitions(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "doctor.json"
    assert main([str(repo), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert len(report["views"]) == 9
    assert {case["kind"] for view in report["views"] for case in view["cases"]} == {"kept"}
    assert "Healthy: 0 of 9 views lose or leak rows." in capsys.readouterr().out


def test_our_store_is_healthy_on_views_of_all_kinds(tmp_path: Path) -> None:
    code, report = ask(write_repo(tmp_path / "repo", {"type": STORE}))
    assert (code, report["at_risk"]) == (0, [])
    assert all(len(view["cases"]) >= 10 for view in report["views"])
    assert cases(report, "note") == {}


_LOSES = {SLATE: "LOSES 2 of 3 labels", LATER: "LOSES 2 of 2 labels"}
_TOGETHER = {TOGETHER: "LOSES 1 of 2 labels"}


def test_feasts_file_store_loses_labels(tmp_path: Path) -> None:
    """Exactly what was measured of it by hand, in Feast 0.67."""
    code, report = ask(write_repo(tmp_path / "repo", {"type": "file"}))
    assert code == 1
    assert cases(report, "fails") == {
        "pair_stats": {**_LOSES, **_TOGETHER},
        "shop_names": {**_LOSES, **_TOGETHER},
        "user_stats": {**_LOSES, EXPIRED: "LOSES 2 of 2 labels", **_TOGETHER},
        "weather": {**_LOSES, **_TOGETHER},
    }
    assert cases(report, "note")["user_stats"] == {
        ORDER: "kept in another order; attach nothing by position",
        SQL: "the store refuses (ValueError)",
    }


def test_feasts_duckdb_store_fails_on_names_and_on_maps(tmp_path: Path) -> None:
    code, report = ask(write_repo(tmp_path / "repo", {"type": "duckdb"}))
    assert code == 1
    failed = cases(report, "fails")
    assert failed.pop("pair_stats") == {MAP: "WRONG value, that of another key (2 of 2 labels)"}
    assert list(failed) == ["shop_names"]
    assert list(failed["shop_names"]) == [NAMES]
    assert "ERROR IbisTypeError: Column 'price_y' is not found" in failed["shop_names"][NAMES]


def ask_over_ray(folder: Path, store_type: str) -> tuple[int, dict[str, Any]]:
    """About one view, in a process of its own: the stores start a Ray that they never stop."""
    address = "ray://nobody.example:10001"
    repo = write_repo(folder / "repo", {"type": store_type, "ray_address": address})
    out = folder / "out.json"
    command = [sys.executable, "-m", "feature_repo.plugins.doctor", str(repo)]
    options = ["--view", "user_stats", "--json", str(out)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=900)
    report = json.loads(out.read_text())
    assert report["not_checked"] is None
    assert "ray_address was left out: the cases ran on this machine" in report["warnings"]
    return done.returncode, report


@pytest.mark.ray
@pytest.mark.slow
def test_our_store_is_healthy_over_ray(tmp_path: Path) -> None:
    code, report = ask_over_ray(tmp_path, STORE)
    assert (code, report["at_risk"], cases(report, "note")) == (0, [], {})


@pytest.mark.ray
@pytest.mark.slow
def test_feasts_ray_store_loses_and_leaks(tmp_path: Path) -> None:
    code, report = ask_over_ray(tmp_path, "ray")
    assert code == 1
    assert cases(report, "fails") == {
        "user_stats": {
            SLATE: "LOSES 2 of 3 labels",
            "the same, view too big to broadcast": "MISSES the value (3 of 3 labels)",
            SECOND: "LEAKS a value from after the label (1 of 1 label)",
            EXPIRED: "STALE value past its ttl (2 of 2 labels)",
            CORRECTED: "WRONG value, not the newest (1 of 1 label)",
            NO_KEY: "LOSES 1 of 2 labels",
        }
    }
    assert CUTOFF in cases(report, "note")["user_stats"]


_CAUGHT: dict[Fault, dict[str, str]] = {
    "drops one": {SLATE: "LOSES 1 of 3 labels"},
    "repeats one": {SLATE: "REPEATS 1 of 3 labels"},
    "mixes up": {NO_KEY: "MIXED UP with another label (2 of 2 labels)"},
    "peeks": {
        "rows from after the label": "LEAKS a value from after the label (1 of 2 labels)",
        LATER: "LEAKS a value from after the label (1 of 2 labels)",
    },
    "is late": {
        "a row of the label's own instant": "WRONG value, not the newest (1 of 2 labels); "
        "MISSES the value (1 of 2 labels)"
    },
    "no ttl": {EXPIRED: "STALE value past its ttl (2 of 2 labels)"},
    "no created": {CUTOFF: "LEAKS a value written after the label (2 of 3 labels)"},
    "no mapping": {SLATE: "ERROR ValueError: view 'planted_2' asks its source for ['shop_id']"},
    "raises on ttl": {SLATE: "ERROR RuntimeError: no such table"},
}


def test_every_fault_is_tried() -> None:
    assert {*_CAUGHT, "raises always"} == set(get_args(Fault))


def test_a_store_that_cannot_be_asked_is_not_called_at_risk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor healthy: it is set up wrongly, or does not read files."""
    repo = write_repo(tmp_path / "repo", {"type": WRONG_STORE, "fault": "raises always"})
    code, report = ask(repo)
    assert (code, report["at_risk"]) == (2, [])
    assert "cannot be asked at all (RuntimeError: no such table)" in capsys.readouterr().err


@pytest.mark.parametrize("fault", _CAUGHT)
def test_a_store_that_is_wrong_on_purpose_is_caught(tmp_path: Path, fault: Fault) -> None:
    repo = write_repo(tmp_path / "repo", {"type": WRONG_STORE, "fault": fault})
    view = "shop_names" if fault == "no mapping" else "user_stats"
    code, report = ask(repo, "--view", view)
    assert code == 1
    failed = cases(report, "fails")[view]
    for case, verdict in _CAUGHT[fault].items():
        assert failed.get(case, "kept").startswith(verdict), failed


def test_the_repo_is_left_as_it_was(tmp_path: Path) -> None:
    repo = write_repo(tmp_path / "repo", {"type": "duckdb"})
    before = _hashes(repo)
    ask(repo)
    assert _hashes(repo) == before
    assert set(before) == {"feature_store.yaml", "online.db", "registry.db"}


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_warnings_are_about_what_is_so_and_do_not_fail(tmp_path: Path) -> None:
    repo = write_repo(tmp_path / "repo", {"type": STORE}, cache_ttl_seconds=60)
    code, report = ask(repo)
    assert code == 0
    online, created, registry = report["warnings"]
    assert online.startswith("user_stats: the ttl is not enforced when features are read online")
    assert created.startswith("pair_stats, shop_names, weather: the source has no created")
    assert registry.startswith("registry: cache_ttl_seconds is 60;")
    by_duckdb = examine(repo, ["weather"], "duckdb")
    assert any("weather: the source's path is relative" in said for said in by_duckdb.warnings)


def test_a_store_of_a_server_is_not_checked_and_another_one_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = write_repo(tmp_path / "repo", {"type": "remote", "host": "localhost", "port": 1})
    code, report = ask(repo)
    said = capsys.readouterr()
    assert (code, report["at_risk"]) == (2, [])
    assert "RemoteOfflineStore reads no Parquet files" in report["not_checked"]
    assert "NOT CHECKED  user_stats" in said.out
    assert "--store potluck" in said.err
    assert ask(repo, "--store", "potluck")[0] == 0


def test_the_report_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = write_repo(tmp_path / "repo", {"type": "file"})
    assert main([str(repo), "--view", "user_stats", "--view", "pair_stats"]) == 1
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 100
    assert "\033" not in said
    assert "AT RISK      user_stats\n             by user_id (String); ttl 1 day;" in said
    assert f"{SLATE:<38}LOSES 2 of 3 labels" in said
    assert "type: feature_repo.plugins.point_in_time.PointInTimeOfflineStore" in said
    assert "shop_names" not in said
    assert "\033[31;1mAT RISK\033[0m" in as_text(examine(repo, ["weather"], None), colour=True)


def test_what_cannot_be_checked_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = write_repo(tmp_path / "repo", {"type": STORE})
    never_applied, broken = tmp_path / "new", tmp_path / "broken"
    for folder in (never_applied, broken):
        folder.mkdir()
    (never_applied / "feature_store.yaml").write_text((repo / "feature_store.yaml").read_text())
    (broken / "feature_store.yaml").write_text("project: tiny\noffline_store: {type: cloud}\n")
    for arguments, words in [
        ([str(tmp_path / "gone")], "no feature_store.yaml in .* `feast init`"),
        ([str(never_applied)], "no registry at 'registry.db'; run `feast -c .* apply`"),
        ([str(broken)], "does `feast -c .* feature-views list` work"),
        ([str(repo), "--view", "user_stat"], "no view named .*'user_stat'.*has: .*user_stats"),
        ([str(repo), "--store", "cloud"], "cloud"),
    ]:
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        assert re.search(f"doctor: .*{words}", said.err), said.err
    assert not (never_applied / "registry.db").exists()
