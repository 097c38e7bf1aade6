"""What is evaluated has learnt from validation too, and from nothing of the test period."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training_data import tiny
from tests.training_model.projects import command, write_project
from training.bundle import Bundle, load_bundle
from training.train import main

LOG = tiny.random_log(seed=7, num_events=700)
VALIDATION_DAY, TEST_DAY = 60, 80  # as the tables of the tiny log say


def changed_from(day: int) -> tiny.Log:
    """The same events up to the day; after it everybody takes up something else."""
    item = np.where(LOG.at_us < tiny.START_US + day * tiny.DAY_US, LOG.item, 29 - LOG.item)
    return tiny.Log(LOG.user, item, LOG.at_us, LOG.num_users, LOG.num_items)


def evaluated(folder: Path, log: tiny.Log, *more: str) -> Bundle:
    """The bundle that the report is about."""
    write_project(folder, log)
    assert main(command(folder, "run", *more)) == 0
    run = folder / "run"
    return load_bundle(run / "evaluated" if (run / "evaluated").is_dir() else run / "bundle")


def weights(bundle: Bundle) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in bundle.model.state_dict().values()])


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return evaluated(tmp_path_factory.mktemp("refitted"), LOG)


def test_another_test_period_leaves_model_encoder_and_weights_as_they_are(
    refitted: Bundle, tmp_path: Path
) -> None:
    other = evaluated(tmp_path, changed_from(TEST_DAY))
    assert torch.equal(weights(refitted), weights(other))
    assert refitted.encoder.fingerprint() == other.encoder.fingerprint()
    np.testing.assert_array_equal(refitted.served.weights_NK, other.served.weights_NK)


def test_the_validation_period_is_learnt_from(refitted: Bundle, tmp_path: Path) -> None:
    stale = evaluated(tmp_path, LOG, "--no-refit")
    np.testing.assert_array_equal(refitted.served.weights_NK, stale.served.weights_NK)
    assert refitted.encoder.fingerprint() != stale.encoder.fingerprint()
    assert not torch.equal(weights(refitted), weights(stale))
