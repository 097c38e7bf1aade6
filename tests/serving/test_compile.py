"""A compiled model answers as the model itself does, for any number of items."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from feast import FeatureStore
from torch import Tensor

from serving.api import Context, RecommendRequest
from serving.clock import microseconds
from serving.compile import main, one_request
from serving.config import ServingConfig
from serving.live import Live
from serving.ranker import SlateRanker
from serving.snapshot import Snapshot
from serving.users import UserReader
from tests.serving.askers import REGULARS
from tests.serving.stopped import StoppedClock
from training.attribution import attribute, subsets
from training.bundle import Bundle, load_bundle
from training.compiling import exported
from training.config import FUSIONS, FusionName
from training.model import FusionModel
from training.native import RECORD, open_native
from training.tokens import SideTokens

SIZES = (2, 3, 57)


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("native") / "compiled"
    out.mkdir()
    for name in (RECORD, "of before"):
        (out / name).write_text("")
    assert main(["--bundle", str(bundle), "--out", str(out)]) == 0
    return out


@pytest.fixture
def own(loaded: Bundle, bundle: Path) -> Bundle:
    """With a model that may be changed."""
    return dataclasses.replace(loaded, model=load_bundle(bundle).model)


def close(found: SideTokens, expected: SideTokens) -> None:
    assert torch.equal(found.present, expected.present)
    for name, tensor in named(expected).items():
        torch.testing.assert_close(named(found)[name], tensor, rtol=1e-4, atol=1e-5)


def named(tokens: SideTokens) -> dict[str, Tensor]:
    """All but the presence, by a name of its own."""
    several = {"key": tokens.keys, "weight": tokens.weights, "vector": tokens.vectors}
    every = {f"{kind} {name}": own for kind, of in several.items() for name, own in of.items()}
    return {"tokens": tokens.tokens, "prior": tokens.prior, **every}


@torch.inference_mode()
def test_every_step_gives_what_the_model_gives(
    own: Bundle, folder: Path, store: FeatureStore
) -> None:
    model, at_us = own.model, microseconds(own.as_of) + 1
    snapshot, native = Snapshot.from_bundle(own), open_native(folder, own.model, own.encoder)
    for user_id in (REGULARS[0], "nobody"):
        user = UserReader(store, own.encoder, model).read(user_id, Context(), at_us)
        found = native.user_tokens(user.batches)
        assert found is not None
        close(found, user.tokens)
        for num in SIZES:
            items = snapshot.tokens(np.arange(num), at_us)
            scores = native.score(user.tokens, items)
            assert scores is not None
            torch.testing.assert_close(scores, model.score(user.tokens, items))
            masks_KS = subsets(len(model.sources))[0]
            masked = native.score_masked(user.tokens, items, masks_KS)
            assert masked is not None
            expected = model.score_masked(user.tokens, items, masks_KS)
            torch.testing.assert_close(masked, expected, rtol=1e-4, atol=1e-5)
            model.native = native
            close(snapshot.tokens(np.arange(num), at_us), items)
            model.native = None


def test_slates_are_the_same(own: Bundle, folder: Path, store: FeatureStore) -> None:
    ranker = SlateRanker(own, store, StoppedClock(own.as_of))
    requests = [RecommendRequest(user_id=user_id, k=5) for user_id in (*REGULARS[:3], "nobody")]
    plain = [ranker.recommend(request) for request in requests]
    own.model.native = open_native(folder, own.model, own.encoder)
    for request, expected in zip(requests, plain, strict=True):
        found = ranker.recommend(request)
        assert [item.position for item in found.items] == [i.position for i in expected.items]
        for item, other in zip(found.items, expected.items, strict=True):
            assert item.score == pytest.approx(other.score, abs=1e-4)
            assert item.evidence.contributions == pytest.approx(
                other.evidence.contributions, abs=1e-4
            )


@torch.inference_mode()
def test_what_packages_do_not_take_goes_the_model_s_own_way(own: Bundle, folder: Path) -> None:
    model, at_us = own.model, microseconds(own.as_of)
    snapshot, seen = Snapshot.from_bundle(own), one_request(own)
    native = open_native(folder, model, own.encoder)
    user = model.user_tokens(seen.users)
    one, two = (snapshot.tokens(np.arange(num), at_us) for num in (1, 2))
    users = user.map(lambda tensor: tensor.expand(3, *tensor.shape[1:]))
    assert native.score(user, one) is None
    assert native.score(users, two) is None
    assert native.score_masked(user, two, torch.eye(len(model.sources), dtype=torch.bool)) is None
    model.native = native
    assert model.score(users, two).shape == (3, 2)
    assert attribute(model, user, one).scores_BC.shape == (1, 1)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_each_fusion_is_exported_for_any_number_of_items(own: Bundle, fusion: FusionName) -> None:
    model_config = own.config.model.model_copy(update={"fusion": fusion})
    model = FusionModel(
        own.encoder.feature_schema, own.encoder.vocabulary_sizes, model_config
    ).eval()
    of_fusion = dataclasses.replace(own, model=model)
    seen = one_request(of_fusion)
    names, programs = exported(model, own.encoder, seen)
    assert set(programs) == {"user_tokens", "finished", "score", "score_masked"}
    with torch.inference_mode():
        user = model.user_tokens(seen.users)
        items = Snapshot.from_bundle(of_fusion).tokens(np.arange(7), microseconds(own.as_of))
        scores = programs["score"].module()(*names.flat_pair(user, items))[0]
        torch.testing.assert_close(scores, model.score(user, items), rtol=1e-4, atol=1e-5)


def test_the_folder_is_replaced_and_nothing_stays_beside_it(folder: Path) -> None:
    assert not (folder / "of before").exists()
    assert list(folder.parent.iterdir()) == [folder]


def test_packages_of_other_shapes_are_refused(own: Bundle, folder: Path) -> None:
    config = own.config.model.model_copy(update={"width": 2 * own.config.model.width})
    other = FusionModel(own.encoder.feature_schema, own.encoder.vocabulary_sizes, config)
    lengths = {name: length + 1 for name, length in own.encoder.sequence_lengths.items()}
    longer = own.encoder.model_copy(update={"sequence_lengths": lengths})
    for model, encoder in ((other, own.encoder), (own.model, longer)):
        with pytest.raises(ValueError, match=r"for a model of other shapes.*serving\.compile"):
            open_native(folder, model, encoder)
    with pytest.raises(ValueError, match="holds no compiled steps"):
        open_native(folder.parent, own.model, own.encoder)


def test_what_was_not_compiled_is_never_replaced(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    assert main(["--bundle", str(bundle), "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "metrics.json").read_text() == "{}"


def test_a_machine_without_a_compiler_is_told_so(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["--bundle", str(bundle), "--out", str(tmp_path / "out")]) == 2
    assert "no C++ compiler 'no-such-compiler'" in capsys.readouterr().err


def test_a_server_uses_what_fits_and_does_without_what_does_not(
    bundle: Path, repo: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FeatureStore(str(repo))
    config = ServingConfig(bundle=bundle, repo=repo, compiled=folder, clock="data")
    assert Live(config, store).state.ranker.bundle.model.native is not None
    empty = ServingConfig(bundle=bundle, repo=repo, compiled=tmp_path, clock="data")
    assert Live(empty, store).state.ranker.bundle.model.native is None
    assert "served without compiled steps" in caplog.text
