"""Recommendation quality under published protocols: baselines, channels, the fused score.

`python -m tests.benchmarks.quality --protocol lastfm-recbole --seeds 5 --json OUT`. Reads the raw
folders from `--source` (default POTLUCK_REAL_DATA, else ../shared/data), builds the tables once
under `--work`, and prints a table. Weights are learnt on validation; test is asked once a seed. The
spread is the standard deviation over seeds, the interval a bootstrap over users of the first seed;
where the split is fixed, the seed only draws the queries that weights are learnt from. Under
`global-time` every scorer, baselines as well, is fitted on validation too before it is asked. With
`--run`, `fused` is what that run evaluated, its model and weights, and `channels_fused` the same
without a model.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feast import FeatureStore
from tqdm import tqdm

from feature_repo.pipelines import build
from tests.benchmarks.rankings.table import (
    FUSED,
    Measured,
    Table,
    as_json,
    differences,
    print_table,
)
from training.baselines import Scorer
from training.blend import Blend, BlendOptions, learn_blend
from training.bundle import EVALUATED, load_bundle
from training.events import read_events
from training.protocols import PROTOCOLS, Protocol, Recipe, Trial
from training.scorer import FusedScorer, QueryFeatures
from training.served import MODEL, Served

FOLDERS = {
    "lastfm": "hetrec2011-lastfm-2k",
    "movielens": "ml-latest-small",
    "amazon-beauty": "amazon-beauty",
}
DATASETS = {"lastfm-recbole": "lastfm", "beauty-leave-last-out": "amazon-beauty"}
REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DEFAULT = "lastfm-recbole"


@dataclass(frozen=True)
class Trained:
    """A run's model and how it weighs the channels beside it."""

    model: Scorer
    served: Served

    def over(self, channels: Sequence[Scorer]) -> Blend:
        """The served score over channels that have learnt from the periods asked for."""
        by_name = {channel.name: channel for channel in channels}
        asked = [self.model, *(by_name[own.name] for own in self.served.channels)]
        return Blend(asked, self.served.weights_NK, FUSED, self.served.steps)


def run(
    protocol: Protocol,
    data_dir: Path,
    seeds: Sequence[int],
    refit: bool = False,
    trained: Trained | None = None,
) -> Table:
    """Every seed: fit, learn the weights on validation, measure the parts and the blend.

    What a run has trained, if given, is asked as it is: neither fitted nor weighed again.
    """
    table = Table()
    learnt = "channels_fused" if trained else FUSED
    fitted: list[Scorer] = []
    for seed in tqdm(seeds, desc="seeds"):
        if protocol.splits_at_random or not fitted:
            trial = protocol.trial(data_dir, seed)
            asked = protocol.refit(data_dir, trial) if protocol.refits else trial
            measure_each(asked, protocol.baselines, table.baselines, seed)
            asking = measure_each(asked, protocol.channels, table.channels, seed)
            fitted = fit_each(trial, protocol.channels) if protocol.refits else asking
            if trained:
                for name, scorer in (("model_alone", trained.model), (FUSED, trained.over(asking))):
                    table.fused.setdefault(name, Measured()).add(scorer, asked.test, seed)
        started = time.perf_counter()
        blend = learn_blend(fitted, trial.validation, BlendOptions(seed=seed), progress=True)
        table.weights.append(blend.by_channel())
        fused = table.fused.setdefault(learnt, Measured())
        fused.fit_s.append(time.perf_counter() - started)
        fused.add(blend.over(asking), asked.test, seed)
        if not table.ahead:
            others = {**table.baselines, **table.channels, **table.fused}
            table.ahead = differences(table.fused[FUSED], others, asked.test)
        if refit and not protocol.refits:
            later = protocol.refit(data_dir, trial)
            again = blend.over(fit_each(later, protocol.channels))
            table.fused.setdefault("fused_refit", Measured()).add(again, later.test, seed)
    return table


def fit_each(trial: Trial, recipes: Mapping[str, Recipe]) -> list[Scorer]:
    """Every scorer whose sources there are."""
    possible = trial.possible(dict(recipes))
    return [recipe.fit(trial.events, trial.sources) for recipe in possible.values()]


def measure_each(
    trial: Trial, recipes: Mapping[str, Recipe], found: dict[str, Measured], seed: int
) -> list[Scorer]:
    """Fit and measure every scorer whose sources there are."""
    scorers = []
    for name, recipe in trial.possible(dict(recipes)).items():
        measured = found.setdefault(name, Measured())
        started = time.perf_counter()
        scorer = recipe.fit(trial.events, trial.sources)
        measured.fit_s.append(time.perf_counter() - started)
        measured.add(scorer, trial.test, seed)
        scorers.append(scorer)
    return scorers


def built_tables(dataset: str, source: Path, work: Path) -> Path:
    """The folder with the canonical tables, built now unless it is there."""
    out = work / dataset
    if (out / "dataset.json").is_file():
        return out
    arguments = ["--dataset", dataset, "--source", str(source), "--out", str(out)]
    if build.main([*arguments, "--only", "tables", "--no-activate"]):
        raise ValueError(f"the tables of {dataset} could not be built from {source}")
    return out


def trained_by(run: Path, repo: Path, data_dir: Path) -> Trained:
    """What a run has evaluated: learnt from all before the test period.

    ValueError if the run's data are others than these, or if it was not refitted.
    """
    if not (run / EVALUATED).is_dir():  # its bundle alone has learnt from the training period
        raise ValueError(f"{run} has no folder {EVALUATED}; train again, without --no-refit")
    bundle = load_bundle(run / EVALUATED)
    events = read_events(data_dir)
    known = bundle.items.column("item_id").to_pylist()
    if known != events.item_ids.tolist():
        raise ValueError(f"{run} knows {len(known)} items that are not those of {data_dir}")
    store = FeatureStore(repo_path=str(repo))
    features = QueryFeatures(store, bundle.schema, bundle.encoder, events)
    return Trained(FusedScorer(MODEL, bundle.model, features), bundle.served)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, help=f"default {DEFAULT}")
    parser.add_argument("--dataset", choices=FOLDERS, help="of global-time; default lastfm")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this, less one")
    parser.add_argument(
        "--refit",
        action="store_true",
        help="also fit on validation before test, where the protocol does not anyway",
    )
    parser.add_argument(
        "--run",
        type=Path,
        help="folder of a run by training.train on the same data: its served score is measured",
    )
    parser.add_argument("--repo", type=Path, default=Path("feature_repo"), help="of that run")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("POTLUCK_REAL_DATA", REAL_DATA))
    )
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="built tables")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags, run, print, write. Without `--protocol`, no data is no error."""
    flags = parser().parse_args(arguments)
    name = flags.protocol or DEFAULT
    flags.dataset = DATASETS.get(name) or flags.dataset or "lastfm"
    folder = flags.source / FOLDERS[flags.dataset]
    if not folder.is_dir():
        text = f"no data in {folder}; unpack it there or set POTLUCK_REAL_DATA"
        print(f"{'skipped' if flags.protocol is None else 'error'}: {text}", file=sys.stderr)
        flags.json.write_text(json.dumps({"skipped": text}) + "\n", encoding="utf-8")
        return 0 if flags.protocol is None else 2
    flags.protocol, started = name, time.perf_counter()
    data_dir = built_tables(flags.dataset, folder, flags.work)
    trained = trained_by(flags.run, flags.repo, data_dir) if flags.run else None
    table = run(PROTOCOLS[name], data_dir, range(flags.seeds), flags.refit, trained)
    print_table(table, PROTOCOLS[name])
    wall_s = time.perf_counter() - started
    flags.json.write_text(as_json(table, flags, PROTOCOLS[name], wall_s), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
