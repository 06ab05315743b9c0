"""One class more than a finished experiment has: the backbone is taken from its run, and the head is new."""

import shutil

import mlflow
import numpy as np

from pipeline.models.classifier import BACKBONE
from pipeline.models.saving import load_classifier
from tests.support.experiments import run_stages
from tests.support.images import COLOURS, write_images


def test_a_class_is_added_to_a_finished_classifier(experiment, configure, tmp_path):
    more = write_images(tmp_path / "more", classes=(*COLOURS, "violet"))
    settings = [f"dataset.path={more}", f"backbone.weights=runs:/{experiment.run_id}"]
    config = configure(*settings)
    # The new run is logged to a copy of the store.
    store = tmp_path / "mlflow.db"
    shutil.copy(experiment.config.tracking.uri.removeprefix("sqlite:///"), store)
    job = run_stages(config, tmp_path / "job", "train")
    before, _ = load_classifier(experiment.root / experiment.json("evaluate", "metrics.json")["best"] / "model.keras")
    after, classes = load_classifier(tmp_path / "job" / "train" / "model.keras")
    assert classes == sorted([*COLOURS, "violet"])
    for own, trained in zip(*(model.get_layer(BACKBONE).get_weights() for model in (after, before)), strict=True):
        np.testing.assert_array_equal(own, trained)
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    [run] = client.search_runs(
        [each.experiment_id for each in client.search_experiments()], f"tags.experiment_key = '{job.key}'"
    )
    assert run.data.tags["weights_run"] == experiment.run_id
    assert run.data.tags["weights"] == f"runs:/{experiment.run_id}/model"
    assert run.data.tags["weights_sha256"] == job.digests["weights"]
