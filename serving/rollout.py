"""Rollout: which bundle the running servers answer from: `python -m serving.rollout --help`.

In: a new bundle, and the folder that servers were given in its place (`bundle=runs/live`). Out: the
folder's pointer, switched in one move once the bundle was checked. Servers load the new bundle
beside the old one and go over to it between two requests.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from feast import FeatureStore

from serving.pointer import only_writer, switch, target
from serving.snapshot_files import snapshots_of
from training.bundle import MANIFEST, load_bundle
from training.command import exit_status


def bundle_folder(path: Path) -> Path:
    """The bundle that a path names now: itself, or what it points to."""
    return target(path) or path


def roll_out(bundle_path: Path, live: Path, repo: Path) -> Path:
    """Check a bundle and point to it; returns its folder. ValueError says what does not fit."""
    path = bundle_folder(bundle_path).resolve()
    bundle = load_bundle(path)
    bundle.check(FeatureStore(repo_path=str(repo)))
    if (live / MANIFEST).exists():
        raise ValueError(f"{live} is a bundle; give a folder that is to point to bundles")
    with only_writer(live):
        before = target(live)
        switch(live, path)
    print(
        f"{live} -> {path}, bundle {bundle.version} of {bundle.manifest.created_at:%Y-%m-%d %H:%M}"
    )
    if before and target(snapshots_of(before)) and not target(snapshots_of(path)):
        command = f"python -m serving.snapshot --bundle {live} --repo {repo}"
        print(
            f"its items are as of {bundle.as_of:%Y-%m-%d %H:%M}: it has no snapshot, as the bundle "
            f"before has; take one with `{command}`"
        )
    return path


def roll_back(live: Path, repo: Path) -> Path:
    """Point to the bundle before; the one of now is then the one to go back to."""
    previous = target(live, "previous")
    if previous is None:
        raise ValueError(f"{live} has pointed to no other bundle, so there is none to go back to")
    return roll_out(previous, live, repo)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.rollout",
        description="Make the servers that were started with bundle=LIVE answer from a bundle, or "
        "from the one before. The bundle is checked against the feature repo first; servers that "
        "cannot load it keep the old one and say so at /healthz.",
    )
    add = parser.add_argument
    add("bundle", type=Path, nargs="?", help="runs/NAME/bundle")
    add("--to", type=Path, required=True, metavar="LIVE", help="folder to point from: runs/live")
    add("--back", action="store_true", help="go back to the bundle before")
    add("--repo", type=Path, default=Path("feature_repo"), help="Feast feature repo (%(default)s)")
    given = parser.parse_args(arguments)
    if given.back == (given.bundle is not None):
        parser.error("give either a bundle or --back")
    if given.back:
        return exit_status(lambda: roll_back(given.to, given.repo))
    return exit_status(lambda: roll_out(given.bundle, given.to, given.repo))


if __name__ == "__main__":
    sys.exit(main())
