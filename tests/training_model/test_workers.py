"""The same loop in Ray Train workers: two make what one makes, and a stopped run goes on."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from tests.training_model.toy import toy_data, toy_spec
from training.arrays import scratch, write_array, write_index
from training.config import RunConfig
from training.dataset import TrainingData
from training.workers import Fitted, check_resources, fit, fit_on_ray, start_ray

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray 2.60 reads its own deprecated settings and leaves sockets and files to the interpreter.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RUN = RunConfig(epochs=2, batch_size=64, negatives=8, workers=1, cpus_per_worker=1, seed=3)
# Without dropout, which differs between workers, two workers take exactly the steps of one.
STEADY = {"dropout": 0.0, "source_dropout": 0.0, "id_dropout": 0.0, "sequence_dropout": 0.0}


@pytest.fixture(scope="module", autouse=True)
def running_ray() -> Iterator[None]:
    started = start_ray()
    yield
    if started:
        ray.shutdown()


def run_with(workers: int, folder: Path, data: TrainingData | None = None) -> Fitted:
    run = RUN.model_copy(update={"workers": workers})
    return fit(toy_spec(**STEADY), data or toy_data(320, 100, seed=5), run, folder, "run")


def in_files(data: TrainingData, folder: Path) -> TrainingData:
    """The same data as files that workers open for themselves."""

    def stored(part: object) -> object:
        if isinstance(part, np.ndarray):
            return write_array(folder, part.shape, part.dtype, [part])
        return {key: stored(below) for key, below in part.items()}

    examples = {split: stored(vars(own)) for split, own in data.examples.items()}
    write_index(folder, {"views": stored(data.views), "examples": examples})
    return TrainingData.open(folder)


def test_two_workers_make_what_one_does_and_files_what_arrays_do(tmp_path: Path) -> None:
    if ray.cluster_resources()["CPU"] < 2:
        pytest.skip("needs two CPUs")
    here = run_with(0, tmp_path)
    with scratch(tmp_path / "encoded") as folder:
        files = in_files(toy_data(320, 100, seed=5), folder)
        one, two = (run_with(n, tmp_path / str(n), files) for n in (1, 2))
    for other in (one, two):
        for ours, theirs in zip(here.reports, other.reports, strict=True):
            assert theirs.train_loss == pytest.approx(ours.train_loss, rel=1e-5)
            # Each worker validates its share with its own weights, so they must be equal too.
            assert theirs.validation_loss == pytest.approx(ours.validation_loss, rel=1e-5)
            assert theirs.validation_ndcg == pytest.approx(ours.validation_ndcg, rel=1e-3)


@ray.remote(num_cpus=0.1)
class Reader:
    """A process that has read all encoded rows, as a worker does over an epoch."""

    def __init__(self, folder: Path) -> None:
        self.data = TrainingData.open(folder)
        self.views = [array.sum() for view in self.data.views.values() for array in view.values()]

    def memory(self) -> Counter[str]:
        """Kilobytes of the files in this process's memory, by kind."""
        kilobytes: Counter[str] = Counter()
        mapped = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            first, *rest = line.split()
            if not first.endswith(":"):
                mapped = line.endswith(".npy")
            elif mapped and rest[-1] == "kB":
                kilobytes[first[:-1]] += int(rest[0])
        return kilobytes


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells who shares memory")
def test_workers_share_one_copy_of_the_files(tmp_path: Path) -> None:
    data = in_files(toy_data(3000, 100, seed=5), tmp_path)
    readers = [Reader.remote(data.folder) for _ in range(2)]
    ray.get([reader.memory.remote() for reader in readers])  # both have read
    for memory in ray.get([reader.memory.remote() for reader in readers]):
        assert memory["Rss"] * 1024 > data.num_bytes
        assert memory["Private_Clean"] + memory["Private_Dirty"] == 0
        assert memory["Pss"] == pytest.approx(memory["Rss"] / 2, rel=0.1)
    for reader in readers:
        ray.kill(reader)


def test_a_run_of_the_same_name_goes_on(tmp_path: Path) -> None:
    first = run_with(1, tmp_path)
    again = run_with(1, tmp_path)  # nothing left to do: the finished run is read back
    assert again.reports == first.reports
    for name, weights in first.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], weights, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_is_not_tried_again(tmp_path: Path) -> None:
    data = toy_data(100, 50, seed=1)
    data.views["words"]["embedding:vector"][:] = float("nan")
    with pytest.raises(ValueError, match="no longer finite at epoch 1, step 1"):
        fit_on_ray(toy_spec(), data, RUN, tmp_path, "run")


def test_too_few_cpus_are_named_before_ray_waits_for_ever() -> None:
    run = RUN.model_copy(update={"workers": 10_000})
    with pytest.raises(ValueError, match=r"10000 workers need 10000 CPU, but .* use --workers"):
        check_resources(run)


def test_a_worker_needs_no_feature_store() -> None:
    """Feast takes a third of a gigabyte in each of them, and shows Ray's deprecation warnings."""
    code = "import sys, training.workers; sys.exit('feast' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
