"""Which views of a Feast repo lose or leak rows: `python -m feature_repo.plugins.doctor REPO`.

In: any Feast repo that has been applied. Small cases shaped like its views are planted in a
temporary folder, asked of the very offline store that the repo configures, and compared with the
oracle. Out: a report and an exit code. The repo's registry and configuration are read, its data
and online store are left alone.
"""

import argparse
import contextlib
import io
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from feast import FeatureStore, RepoConfig
from feast.infra.registry.registry import (
    get_registry_store_class_from_scheme,
    get_registry_store_class_from_type,
)
from feast.repo_config import get_offline_config_from_type

from feature_repo.plugins.doctor.report import OUR_STORE, Report, as_text, as_values
from feature_repo.plugins.doctor.trials import Trials, ViewReport
from feature_repo.plugins.doctor.views import CheckedView, Refusal, read_views
from feature_repo.plugins.doctor.warnings import warnings_of

MANUAL = """
exit code:
  0  every view is healthy; warnings do not count
  1  at least one view loses or leaks rows
  2  it could not be found out; one line on stderr says why and what to run

examples:
  python -m feature_repo.plugins.doctor feature_repo
  the views of one team, and a file for the next step of CI:
    python -m feature_repo.plugins.doctor repo --view driver_stats --json doctor.json
  what another store would do with the same definitions (a type that feature_store.yaml accepts,
  or `potluck` for the store of this project), for instance where the own one is a warehouse:
    python -m feature_repo.plugins.doctor repo --store duckdb
"""


def examine(repo: Path, wanted: Sequence[str], store_type: str | None) -> Report:
    """Check a repo's views through its offline store, or through one of `store_type`."""
    started = time.monotonic()
    store = open_repo(repo)
    views = read_views(store, wanted)
    if not views:
        raise Refusal(
            f"the registry of {repo} has no feature views with a batch source; run "
            f"`feast -c {repo} apply`"
        )
    settings = _settings(store.config, store_type)
    with tempfile.TemporaryDirectory(prefix="doctor_") as folder:
        trials = Trials(settings, Path(folder))
        not_checked = trials.why_not()
        reports = _unchecked(views) if not_checked else trials.check(views)
    return Report(
        repo=str(repo),
        project=store.project,
        offline_store=settings["type"],
        views=tuple(reports),
        warnings=(
            *warnings_of(store.config, type(trials.offline_store), views),
            *(f"{name} was left out: the cases ran on this machine" for name in trials.left_out),
        ),
        not_checked=not_checked,
        took_s=time.monotonic() - started,
    )


def open_repo(repo: Path) -> FeatureStore:
    """The repo's store. A registry that is not there is an error: Feast itself would make one."""
    if not (repo / "feature_store.yaml").is_file():
        raise Refusal(
            f"no feature_store.yaml in '{repo}'; give the folder of a Feast repo, or make one "
            f"with `feast init`"
        )
    store = FeatureStore(repo_path=str(repo))
    registry = store.config.registry
    if registry.registry_type == "file":
        kind = registry.registry_store_type
        stored = (
            get_registry_store_class_from_type(kind)
            if kind
            else get_registry_store_class_from_scheme(registry.path)
        )
        try:
            stored(registry, repo).get_registry_proto()
        except FileNotFoundError as error:
            raise Refusal(
                f"no registry at '{registry.path}'; run `feast -c {repo} apply`"
            ) from error
    return store


def _settings(config: RepoConfig, store_type: str | None) -> dict[str, Any]:
    offline_store = config.offline_store
    if store_type:
        dotted = OUR_STORE if store_type == "potluck" else store_type
        offline_store = get_offline_config_from_type(dotted)(type=dotted)
    settings: dict[str, Any] = offline_store.model_dump()
    return settings


def _unchecked(views: Sequence[CheckedView]) -> list[ViewReport]:
    return [ViewReport(view, ()) for view in views]


@contextlib.contextmanager
def _quiet(repo: Path) -> Iterator[None]:
    """Stores print, log and warn while they work; the report is what this command has to say.

    Classes that the repo defines itself are found in its folder, as by `feast apply`.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        sys.path.append(str(repo))
        try:
            yield
        finally:
            sys.path.remove(str(repo))
            logging.disable(logging.NOTSET)


def make_parser() -> argparse.ArgumentParser:
    """The command line; its help is the manual."""
    parser = argparse.ArgumentParser(
        prog="python -m feature_repo.plugins.doctor",
        description="Says which views of a Feast repo would lose or leak rows in\n"
        "get_historical_features, by running small planted cases through its offline store.",
        epilog=MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repo", type=Path, metavar="REPO", help="folder of feature_store.yaml")
    parser.add_argument(
        "--view", action="append", default=[], metavar="NAME", help="only this view; repeatable"
    )
    parser.add_argument(
        "--store", metavar="TYPE", help="check with this offline store instead of the repo's"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the report as JSON, too")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is in its help."""
    args = make_parser().parse_args(arguments)
    repo = args.repo.resolve()
    try:
        with _quiet(repo):
            report = examine(repo, args.view, args.store)
        if args.json:
            args.json.write_text(json.dumps(as_values(report), indent=1) + "\n")
    except Refusal as error:
        return _give_up(str(error))
    except Exception as error:  # noqa: BLE001  # uncaught it would exit with 1: "at risk"
        kind = type(error).__name__
        return _give_up(f"{kind}: {error}; does `feast -c {repo} feature-views list` work?")
    print(as_text(report, colour=sys.stdout.isatty()), end="")
    if report.not_checked:
        return _give_up(
            f"{report.not_checked}; to check the definitions in a store of files, run "
            f"`python -m feature_repo.plugins.doctor {repo} --store potluck`"
        )
    return 1 if report.at_risk else 0


def _give_up(why: str) -> int:
    print(f"doctor: {' '.join(why.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
