"""The benchmark's command: figures as JSON, a table for people, and what it says without data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.benchmarks.quality import Trained, main, run, trained_by
from tests.benchmarks.rankings.table import Measured
from tests.channels.tables import link, play, tag, write_tables
from training.baselines import Ints, Scores
from training.protocols import PROTOCOLS
from training.queries import Queries
from training.served import Served


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """What five users played, the first half of the items by some, the second by others."""
    plays = [
        play(f"u{user}", f"i{item}", 1 + user)
        for user in range(5)
        for item in range(4)
        if (user + item) % 4
    ]
    tags = [tag("u0", "i1", "slow"), tag("u1", "i2", "slow")]
    return write_tables(tmp_path / "lastfm", plays, documents=tags, edges=[link("u0", "u1")])


def test_every_seed_fits_measures_and_blends(shop: Path) -> None:
    table = run(PROTOCOLS["lastfm-recbole"], shop, range(2), refit=True)
    assert set(table.baselines) == set(PROTOCOLS["lastfm-recbole"].baselines)
    assert set(table.channels) == set(PROTOCOLS["lastfm-recbole"].channels)
    assert set(table.fused) == {"fused", "fused_refit"}
    for measured in (*table.baselines.values(), *table.channels.values(), *table.fused.values()):
        for values in measured.values.values():
            assert len(values) == 2
            assert all(0.0 <= value <= 1.0 for value in values)


def test_where_a_protocol_refits_everything_is_asked_after_it(shop: Path) -> None:
    published = PROTOCOLS["lastfm-recbole"]
    refitted = run(replace(published, refits=True), shop, range(1))
    beside = run(published, shop, range(1), refit=True)
    assert refitted.fused["fused"].values == beside.fused["fused_refit"].values
    assert refitted.weights == beside.weights
    assert set(refitted.fused) == {"fused"}
    later = published.refit(shop, published.trial(shop, 0))
    for name, recipe in published.baselines.items():
        again = Measured()
        again.add(recipe.fit(later.events, later.sources), later.test, 0)
        assert refitted.baselines[name].values == again.values


def test_what_a_run_has_trained_is_asked_as_it_is(shop: Path) -> None:
    class Model:
        name = "model"

        def score(self, queries: Queries, rows: Ints) -> Scores:
            scores = np.zeros((len(rows), queries.num_items), np.float32)
            scores[queries.relevant.flat(rows)] = 1.0
            return scores

    channels = PROTOCOLS["lastfm-recbole"].channels["user-ridge"]
    trial = PROTOCOLS["lastfm-recbole"].trial(shop, 0)
    ridge = cast(Any, channels.fit(trial.events, trial.sources))
    table = run(
        PROTOCOLS["lastfm-recbole"],
        shop,
        range(2),
        trained=Trained(Model(), Served(np.array([[9.0, 0.1]]), (), (ridge,))),
    )
    assert table.fused["model_alone"].values["ndcg@10"] == [1.0, 1.0]
    assert table.fused["fused"].values["ndcg@10"] == [1.0, 1.0]
    alone = run(PROTOCOLS["lastfm-recbole"], shop, range(2))
    assert table.fused["channels_fused"].values == alone.fused["fused"].values
    assert "model_alone" in table.ahead


def test_a_run_without_what_it_evaluated_is_refused(shop: Path) -> None:
    with pytest.raises(ValueError, match="no folder evaluated; train again"):
        trained_by(shop, shop, shop)


def test_the_command_writes_figures_and_a_table(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hetrec2011-lastfm-2k").mkdir()
    figures = tmp_path / "figures.json"
    flags = ["--source", str(tmp_path), "--work", str(tmp_path), "--json", str(figures)]
    assert main([*flags, "--protocol", "lastfm-recbole", "--seeds", "1"]) == 0
    found = json.loads(figures.read_text())
    assert {"recall@10", "ndcg@10", "spread", "interval", "per_seed"} <= set(found["fused"])
    assert found["published"][0]["name"] == "SEPT"
    assert found["channels"]["user-ridge"]["fit_s"] > 0
    printed = capsys.readouterr().out
    assert "SEPT" in printed
    assert "fused" in printed


def test_without_data_a_named_protocol_is_an_error(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    flags = ["--source", str(tmp_path / "nowhere"), "--json", str(figures)]
    assert main(flags) == 0
    assert "nowhere" in json.loads(figures.read_text())["skipped"]
    assert main([*flags, "--protocol", "beauty-leave-last-out"]) == 2
