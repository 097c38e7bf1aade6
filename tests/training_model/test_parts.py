"""Configuration, calibration and neighbours: small parts with known answers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.calibration import Calibration, fit_calibration
from training.config import FUSIONS, ModelConfig, RunConfig, TrainingConfig, read_config
from training.neighbours import item_neighbours


@given(
    st.builds(
        ModelConfig,
        fusion=st.sampled_from(FUSIONS),
        width=st.sampled_from([8, 64]),
        dropout=st.floats(0, 0.9),
    ),
    st.builds(RunConfig, epochs=st.integers(1, 99), learning_rate=st.floats(1e-6, 1)),
)
def test_a_configuration_survives_json(model: ModelConfig, run: RunConfig) -> None:
    config = TrainingConfig(model=model, run=run)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


def test_a_typo_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model:\n  fusoin: gated\nrun:\n  epochs: 0\n")
    with pytest.raises(ValueError, match=r"run\.yaml: model\.fusoin: .*; run\.epochs: "):
        read_config(path)
    path.write_text("model: [")
    with pytest.raises(ValueError, match="is not YAML"):
        read_config(path)
    with pytest.raises(ValueError, match="does not exist"):
        read_config(tmp_path / "other.yaml")
    path.write_text("")
    assert read_config(path) == TrainingConfig()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="width 10 is not a multiple of heads 4"):
        ModelConfig(width=10)


def test_calibration_finds_the_curve_the_labels_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(2.0, 3.0, 40_000)
    truth = rng.random(len(scores)) < 1 / (1 + np.exp(-(0.7 * scores - 1.4)))  # half are positive
    found = fit_calibration(scores, truth)
    assert found.slope == pytest.approx(0.7, rel=0.05)
    assert found.intercept == pytest.approx(-1.4, abs=0.1)


def test_calibration_of_separable_extreme_and_useless_scores() -> None:
    truth = np.array([True, True, False, False])
    separable = fit_calibration(np.array([2.0, 3.0, -2.0, -3.0]), truth)
    assert np.isfinite(separable.slope)
    assert separable.probability(np.array([-1e9, 1e9])).tolist() == [0.0, 1.0]
    useless = fit_calibration(np.zeros(4), truth)
    assert useless.probability(np.zeros(1)) == pytest.approx(0.5)
    backwards = fit_calibration(np.array([-2.0, -3.0, 2.0, 3.0]), truth)
    assert backwards.slope == 0.0
    with pytest.raises(ValueError, match="needs both classes"):
        fit_calibration(np.zeros(3), np.ones(3, np.bool_))
    assert Calibration().probability(np.zeros((2, 3))).shape == (2, 3)


def test_neighbours_by_hand() -> None:
    """Users 0 and 1 took up items 0 and 1, user 1 item 2 as well; item 3 nobody."""
    user, item = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 0, 1, 2, 2])
    found = item_neighbours(user, item, 2, 4, num_neighbours=3)
    assert found.ids.tolist() == [[1, 2, -1], [0, 2, -1], [0, 1, -1], [-1, -1, -1]]
    assert found.scores[0].tolist() == pytest.approx([2 / (2 + 10), 1 / (2**0.5 + 10), 0])
    assert (found.scores[3] == 0).all()


def test_neighbours_in_blocks_equal_the_dense_product(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 30, 400), rng.integers(0, 50, 400)
    monkeypatch.setattr("training.neighbours.BLOCK", 7)
    found = item_neighbours(user, item, 30, 50, num_neighbours=50)
    taken = np.zeros((30, 50))
    taken[user, item] = 1
    size = taken.sum(0)
    cosine = (taken.T @ taken) / (np.sqrt(np.outer(size, size)) + 10)
    np.fill_diagonal(cosine, 0)
    for place in range(50):
        there = found.ids[place] >= 0
        assert set(found.ids[place][there]) == set(np.flatnonzero(cosine[place]))
        np.testing.assert_allclose(
            found.scores[place][there], cosine[place, found.ids[place][there]], rtol=1e-6
        )
        assert (np.diff(found.scores[place]) <= 0).all()
