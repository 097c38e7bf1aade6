"""Compare the baselines of a data set, without a model: `python -m training.compare`.

In: a built data set folder. Out: a run folder with metrics.json and report.html, and the table on
the terminal. Nothing of Feast is read: baselines need the interactions alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from feature_repo.pipelines.tables import DatasetInfo
from training.evaluate import EvaluationOptions, EvaluationResult, evaluate
from training.events import read_events
from training.queries import QueryOptions, Split, build_queries
from training.report import metric_table, write_report
from training.slices import build_slices, category_vectors, read_friends
from training.tuning import tuned_baselines


def evaluate_baselines(
    data_dir: Path,
    split: Split = "test",
    queries: QueryOptions | None = None,
    options: EvaluationOptions | None = None,
    without: Sequence[str] = (),
) -> EvaluationResult:
    """Tune and measure the baselines on a built data set."""
    events = read_events(data_dir)
    asked = build_queries(events, split, queries)
    scorers, tried = tuned_baselines(events, without, seed=(queries or QueryOptions()).seed)
    return evaluate(
        scorers,
        asked,
        slices=build_slices(asked, read_friends(data_dir, events)),
        item_vectors_ID=category_vectors(data_dir, events),
        options=options,
        dataset=DatasetInfo.read(data_dir),
        settings=tried,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: measure the baselines of a data set; print the table, write the report."""
    flags = parser().parse_args(arguments)
    try:
        result = evaluate_baselines(
            flags.data,
            flags.split,
            QueryOptions(
                max_users=flags.max_users,
                max_queries_per_user=flags.max_queries_per_user,
                seed=flags.seed,
            ),
            EvaluationOptions(resamples=flags.resamples, seed=flags.seed, progress=True),
            flags.without,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(metric_table(result))
    print(f"report: {write_report(flags.out, result)}")
    return 0


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="python -m training.compare", description=main.__doc__)
    flags.add_argument("--data", type=Path, required=True, help="a built data set, data/current")
    flags.add_argument("--out", type=Path, required=True, help="folder of the run, runs/NAME")
    flags.add_argument("--split", choices=("validation", "test"), default="test")
    flags.add_argument("--without", action="append", default=[], choices=("item-knn", "ease"))
    flags.add_argument("--max-users", type=int, default=2000, help="draw at most so many")
    flags.add_argument("--max-queries-per-user", type=int, default=10, help="draw at most so many")
    flags.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    flags.add_argument("--seed", type=int, default=0)
    return flags


if __name__ == "__main__":
    sys.exit(main())
