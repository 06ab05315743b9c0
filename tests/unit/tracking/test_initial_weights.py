"""A trained model under all its names: one file, one digest, and where it came from."""

import shutil
from types import SimpleNamespace

import mlflow
import pytest

from pipeline.config.compose import composed
from pipeline.jobs import launch
from pipeline.jobs.networks import check_networks
from pipeline.models.saving import save_classifier
from pipeline.storage.files import file_sha256, write_json
from pipeline.system.errors import PipelineError
from pipeline.tracking.initial_weights import weights_digest, weights_source, weights_tags
from pipeline.tracking.logged_model import log_model
from tests.support.backbones import small, small_classifier


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    """A store with two different models, of which the registered model `own` has versions 1 and 2."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("own", (folder / "artifacts").as_uri()))
    files, runs = [], []
    for name in ("one", "two"):
        file = folder / name / "train" / "model.keras"
        file.parent.mkdir(parents=True)
        save_classifier(small_classifier(small("mobilenet")), ["a", "b", "c"], file)
        write_json(folder / name / "evaluate" / "metrics.json", {"best": "train"})
        with mlflow.start_run() as run:
            log_model(file, "model", temperature=1.0, applied=False)
        files.append(file)
        runs.append(run.info.run_id)
        mlflow.register_model(f"runs:/{run.info.run_id}/model", "own")
    client = mlflow.MlflowClient(uri)
    client.set_registered_model_alias("own", "champion", "1")
    return SimpleNamespace(uri=uri, files=files, runs=runs, client=client)


@pytest.fixture
def with_weights(configure, store):
    def make(weights: str, *overrides: str):
        return configure("backbone=mobilenet", f"backbone.weights='{weights}'", f"tracking.uri={store.uri}", *overrides)

    return make


def test_every_name_of_a_model_is_the_same_weights(with_weights, store):
    file, run = store.files[0], store.runs[0]
    names = [f"runs:/{run}", f"runs:/{run}/model", "models:/own@champion", "models:/own/1"]
    names += [str(file), str(file.parent), str(file.parent.parent)]
    configs = [with_weights(name) for name in names]
    assert {weights_digest(config) for config in configs} == {file_sha256(file)}
    tags = [weights_tags(config) for config in configs]
    assert [each["weights_sha256"] for each in tags] == [file_sha256(file)] * len(names)
    assert [each.get("weights_run") for each in tags] == [run] * 4 + [None] * 3
    assert tags[2]["weights"] == "models:/own/1"
    assert weights_tags(with_weights("imagenet")) == {}


def test_an_alias_is_where_it_stands_now(with_weights, store, monkeypatch):
    config = with_weights("models:/own@moving")
    for version in ("1", "2"):
        store.client.set_registered_model_alias("own", "moving", version)
        assert weights_digest(config) == file_sha256(store.files[int(version) - 1])
    # The jobs of a sweep get versions.
    sweep = "backbone.weights=imagenet,models:/own@moving,models:/own@champion"
    assert composed(["backbone.weights=models:/own@moving"]).backbone.weights == "models:/own@moving"
    pinned = launch._without_aliases(sweep, config.tracking)
    assert pinned == "backbone.weights=imagenet,models:/own/2,models:/own/1"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("runs:/0123456789abcdef0123456789abcdef", "has no such model"),
        ("models:/own@nobody", "has no such model"),
        ("models:/other/1", "has no such model"),
        ("{folder}", "is not a classifier"),
    ],
)
def test_a_wrong_name_is_answered_before_any_network(with_weights, weights, expected, tmp_path):
    with pytest.raises(PipelineError, match=expected) as caught:
        check_networks([with_weights(weights.format(folder=tmp_path))])
    assert str(caught.value).startswith("backbone.weights: ")
    assert len(str(caught.value).split()) < 60


def test_a_lookup_creates_no_store(configure, tmp_path):
    config = configure("backbone.weights=models:/own/1", f"tracking.uri=sqlite:///{tmp_path}/none.db")
    with pytest.raises(PipelineError, match="has no such model"):
        weights_source(config)
    assert not (tmp_path / "none.db").exists()


def test_a_model_of_another_backbone_is_answered_before_any_job(with_weights, store, configure):
    good = with_weights(f"runs:/{store.runs[0]}")
    wrong = configure(
        f"backbone.weights=runs:/{store.runs[0]}", f"tracking.uri={store.uri}", "backbone=efficientnet_lite0"
    )
    with pytest.raises(PipelineError, match=r"mobilenet in .* has other layers than backbone=efficientnet_lite0"):
        check_networks([good, wrong])
