"""Raw files in, a data set folder out: canonical tables, data report, feature tables.

`python -m feature_repo.pipelines.build --help` is the manual. The folder is replaced as a whole at
the end, so a build that fails or is stopped changes nothing.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from pydantic import ValidationError

from feature_repo.pipelines import report as data_report
from feature_repo.pipelines.adapters import ADAPTERS
from feature_repo.pipelines.clean import TableCounts, clean
from feature_repo.pipelines.features.build import build_features
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.fill import Request, apply_policies, parse_requests
from feature_repo.pipelines.judge import open_duckdb
from feature_repo.pipelines.raw import RawInfo, RawSink
from feature_repo.pipelines.split import find_span
from feature_repo.pipelines.staging import (
    finish_swap,
    point_current_at,
    require_link_or_nothing,
    staged,
)
from feature_repo.pipelines.tables import DataError, DatasetInfo

EXAMPLES = """
examples:
  a synthetic world, no download:
    python -m feature_repo.pipelines.build --dataset world --seed 7 --users 2000 --out data/world
  MovieLens, unpacked from grouplens.org:
    python -m feature_repo.pipelines.build --dataset movielens --source ml-latest-small
  your own tables, by a page that says which column means what:
    python -m feature_repo.pipelines.build --dataset tables --mapping shop.yaml --source exports \\
        --out data/shop
  the same tables again, features by another text encoder:
    python -m feature_repo.pipelines.build --only features --out data/shop \\
        --encoder sentence-transformers/all-mpnet-base-v2

Rows that fail a check are kept in OUT/quarantine with the reason; OUT/report has the data report.
"""


def build(args: argparse.Namespace) -> None:
    """Run the stages that `args` (see `make_parser`) asks for."""
    out = _out_folder(args)
    if args.activate and args.only != "tables":
        require_link_or_nothing(out.parent / "current")
    requests = parse_requests(args.fill, "--fill") + parse_requests(args.normalise, "--normalise")
    options = _feature_options(args)
    finish_swap(out)
    if args.only == "features":
        DatasetInfo.read(out)  # there are tables to start from
    with staged(out, keep_tables=args.only == "features") as folder:
        if args.only != "features":
            build_tables(args, out.name, folder, requests)
        if args.only != "tables":
            build_features(folder, options)
    if args.activate and args.only != "tables":
        point_current_at(out)
    print(f"built       {out}; report: {out / 'report' / 'data_report.html'}")


def build_tables(
    args: argparse.Namespace, name: str, folder: Path, requests: Sequence[Request]
) -> None:
    """Read, clean, split, fill, report: everything before features, into `folder`."""
    raw = folder / "raw"
    with RawSink(raw) as sink:
        info = ADAPTERS[args.dataset](args.source, sink, _adapter_options(args, folder))
    if info.snapshot_at is None:
        info = info.model_copy(update={"snapshot_at": datetime.now(UTC)})
    counts = clean(sink, info, folder, args.memory_gb)
    with open_duckdb(raw / "spill", args.memory_gb) as db:
        dataset = _describe_dataset(db, args, name, folder, sink, info)
        policies = apply_policies(db, folder, requests, dataset.train_end_at)
        _report(db, folder, dataset, counts, [policy.text() for policy in policies])
    shutil.rmtree(raw)


def _feature_options(args: argparse.Namespace) -> FeatureOptions:
    given = {
        "encoder": args.encoder,
        "text_adapter": args.text_adapter,
        "text_dims": args.text_dims,
        "text_engine": args.text_engine,
        "grid_days": args.grid_days,
        "seed": args.seed or 0,
        "memory_limit_gb": args.memory_gb,
    }
    try:
        return FeatureOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "memory_gb" if first["loc"] == ("memory_limit_gb",) else str(first["loc"][0])
        flag = "--" + name.replace("_", "-")
        raise DataError(f"{flag} {first['input']!r}: {first['msg']}") from error


def _describe_dataset(
    db: duckdb.DuckDBPyConnection,
    args: argparse.Namespace,
    name: str,
    folder: Path,
    sink: RawSink,
    info: RawInfo,
) -> DatasetInfo:
    fraction = info.train_fraction if args.train_fraction is None else args.train_fraction
    span = find_span(db, folder, fraction, args.validation_fraction)
    dataset = DatasetInfo(
        name=name,
        source=info.source_text,
        time_resolution=info.time_resolution,
        seed=args.seed,
        notes=sink.notes,
        **span._asdict(),
    )
    dataset.write(folder)
    return dataset


def _report(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    dataset: DatasetInfo,
    counts: dict[str, TableCounts],
    policies: list[str],
) -> None:
    report = data_report.describe(db, folder, dataset, counts, policies)
    data_report.write_report(db, folder, report)
    print("\n".join(data_report.summary_lines(report)))


def _out_folder(args: argparse.Namespace) -> Path:
    if args.only == "features" and args.out is None:
        raise DataError("--only features needs --out, the folder whose tables it starts from")
    if args.only != "features" and args.dataset is None:
        raise DataError(f"--dataset is missing (has: {', '.join(ADAPTERS)})")
    out: Path = args.out or Path("data") / args.dataset
    # A link such as data/current is followed: the folder it leads to is the one to replace.
    return out.resolve()


def _adapter_options(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    given = {name: getattr(args, name) for name in ("mapping", "seed", "users", "items", "events")}
    return {name: value for name, value in given.items() if value is not None} | {"out": folder}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m feature_repo.pipelines.build",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("what is built")
    where.add_argument("--dataset", choices=ADAPTERS, help="how to read the source")
    where.add_argument("--source", type=Path, help="the folder with the raw files")
    where.add_argument("--out", type=Path, help="the data set folder (default: data/DATASET)")
    where.add_argument("--only", choices=("tables", "features"), help="one half of the work")
    where.add_argument("--mapping", type=Path, help="tables: the YAML page that maps the columns")
    where.add_argument("--seed", type=int, help="seed of the world and of the features (0)")
    for name in ("users", "items", "events"):
        where.add_argument(f"--{name}", type=int, metavar="N", help=f"world: number of {name}")
    where.add_argument(
        "--activate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let `current` beside OUT lead to OUT, where Feast looks (not with --only tables)",
    )
    _add_table_options(parser.add_argument_group("tables"))
    _add_feature_options(parser.add_argument_group("features"))
    return parser


def _add_table_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--train-fraction",
        type=float,
        help="share of take-ups to train on (0.7; 0.8 for amazon-beauty)",
    )
    group.add_argument(
        "--validation-fraction", type=float, default=0.1, help="share to validate on (0.1)"
    )
    group.add_argument(
        "--fill",
        default="",
        metavar="COLUMN=METHOD,...",
        help="fill missing price, value, category, creator or description by mean, median, "
        "most_frequent or constant:VALUE, learnt in the training period; adds COLUMN_missing",
    )
    group.add_argument(
        "--normalise",
        default="",
        metavar="COLUMN=METHOD,...",
        help="add price_normalised or value_normalised by minmax, zscore, log or quantile, learnt "
        "in the training period",
    )
    group.add_argument(
        "--memory-gb", type=float, default=2.0, help="memory before DuckDB spills to disk (2)"
    )


def _add_feature_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encoder", default="minilm", help="text encoder: minilm, a folder or a Hugging Face id"
    )
    group.add_argument(
        "--text-adapter",
        type=Path,
        metavar="DIR",
        help="LoRA adapter for the encoder, from `python -m training.text_tuning`",
    )
    group.add_argument(
        "--text-dims", type=int, metavar="N", help="reduce text embeddings to N numbers by PCA"
    )
    group.add_argument(
        "--text-engine", choices=("local", "ray"), default="local", help="where texts are embedded"
    )
    group.add_argument(
        "--grid-days", type=int, default=1, help="days between refreshes of social and text (1)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with a message on stderr when something is wrong."""
    args = make_parser().parse_args(arguments)
    try:
        build(args)
    except (ValueError, OSError, duckdb.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the data set is as it was before", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
