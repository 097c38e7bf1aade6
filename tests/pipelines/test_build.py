"""The command line: errors are messages, and a data set folder changes as a whole or not at all."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.pipelines import build as build_module
from feature_repo.pipelines.build import main, make_parser
from feature_repo.pipelines.staging import point_current_at, staged
from feature_repo.pipelines.tables import DataError
from tests.pipelines.raw_rows import MOVIELENS, write_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "source", MOVIELENS)


def build(source: Path, out: Path, *more: str) -> int:
    arguments = ["--dataset", "movielens", "--source", str(source), "--out", str(out)]
    return main([*arguments, "--only", "tables", *more])


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_rerun_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "small"
    assert build(source, out) == 0
    before = fingerprint(out)
    assert build(source, out) == 0
    assert fingerprint(out) == before
    assert {path.split("/")[0] for path in before} == {
        "dataset.json",
        "quarantine",
        "report",
        "tables",
    }
    assert sorted(path.name for path in out.parent.iterdir()) == ["small"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ratings.csv": "userId,movieId,rating\n1,1,4\n"}, "has no column 'timestamp'"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n"}, "has a header and no rows"),
        ({"movies.csv": ""}, "is empty"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n1,9,4,1\n"}, "1 rows: unknown item"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n1,1,4,1\n"}, "too few different times"),
    ],
)
def test_a_failed_build_is_a_message_and_leaves_the_old_data(
    files: dict[str, str],
    message: str,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "data" / "small"
    assert build(source, out) == 0
    before = fingerprint(out)
    write_files(source, files)
    assert build(source, out) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert fingerprint(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["small"]


def test_a_build_that_is_stopped_leaves_the_old_data(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data" / "small"
    assert build(source, out) == 0
    before = fingerprint(out)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "clean", stop)
    assert build(source, out) == 130
    assert fingerprint(out) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--dataset is missing (has: world, lastfm"),
        (["--dataset", "movielens"], "--source is missing"),
        (["--dataset", "movielens", "--source", "nowhere"], "nowhere does not exist"),
        (["--only", "features"], "--only features needs --out"),
        (["--only", "features", "--out", "nowhere"], "dataset.json does not exist"),
        (["--dataset", "world", "--grid-days", "0"], "--grid-days 0"),
        (["--dataset", "world", "--memory-gb", "0"], "--memory-gb 0"),
        (["--dataset", "world", "--fill", "prize=mean"], "no column 'prize'"),
    ],
)
def test_a_wrong_command_is_a_message(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_help_names_every_option_with_an_explanation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "examples:" in text
    for action in make_parser()._actions:
        assert action.help, f"{action.option_strings} has no help"
        assert action.option_strings[-1] in text


def test_from_the_shell_an_error_is_one_line_and_exit_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "feature_repo.pipelines.build", "--dataset", "lastfm"]
    run = subprocess.run(
        [*command, "--source", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1


def test_a_folder_that_is_no_data_set_is_never_replaced(source: Path, tmp_path: Path) -> None:
    precious = write_files(tmp_path / "home", {"letter.txt": "dear"})
    assert build(source, precious) == 2
    assert fingerprint(precious).keys() == {"letter.txt"}


def test_foreign_files_and_the_cache_stay_and_stale_features_go(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data" / "small"
    assert build(source, out) == 0
    write_files(out, {"notes.txt": "mine", "online.db": "old values"})
    write_files(out / "cache", {"vectors.npy": "paid for"})
    write_files(out / "features", {"user_activity.parquet": "of the old tables"})
    assert build(source, out) == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "cache" / "vectors.npy").read_text() == "paid for"
    assert not (out / "features").exists()
    assert not (out / "online.db").exists()


def test_two_builds_do_not_write_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "small"
    with (
        staged(out, keep_tables=False),
        pytest.raises(DataError, match="another build is writing"),
        staged(out, keep_tables=False),
    ):
        pass


def test_a_swap_that_was_cut_short_is_repaired(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "small"
    assert build(source, out) == 0
    before = fingerprint(out)
    out.rename(out.parent / ".small.replaced")
    assert build(tmp_path / "nowhere", out) == 2
    assert fingerprint(out) == before


def test_features_are_built_beside_the_tables_they_come_from(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "small"
    assert build(source, out) == 0
    before = fingerprint(out)
    with staged(out, keep_tables=True) as folder:
        assert fingerprint(folder) == before
        write_files(folder / "features", {"view.parquet": "new"})
        write_files(folder / "model", {"fitted.bin": "old"})
    assert fingerprint(out).keys() == before.keys() | {"features/view.parquet", "model/fitted.bin"}
    with staged(out, keep_tables=True) as folder:
        write_files(folder / "model", {"fitted.bin": "new"})
    assert (out / "model" / "fitted.bin").read_text() == "new"


def test_current_leads_to_the_data_set_and_no_real_folder_is_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point_current_at(tmp_path / name)
        assert (tmp_path / "current").resolve() == tmp_path / name
    (tmp_path / "current").unlink()
    (tmp_path / "current").mkdir()
    with pytest.raises(DataError, match="is not a link"):
        point_current_at(tmp_path / "one")
