"""The stages under the real DVC, on made images."""

import pytest

from tests.conftest import draw, write_images
from tests.support.checkouts import STAGES, Checkout

# Some twenty processes, each of which imports TensorFlow.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    folder = tmp_path_factory.mktemp("dvc")
    return Checkout(folder / "clone", write_images(folder / "images", per_class=10))


def test_stages_run_when_what_they_read_has_changed(checkout):
    assert checkout.repro() == set(STAGES)
    assert checkout.repro() == {"watch"}
    checkout.commit("first result")

    checkout.edit("params.yaml", "learning_rate: null, unfreeze", "learning_rate: 0.0002, unfreeze")
    checkout.edit("conf/evaluate/default.yaml", "confidence: 0.95", "confidence: 0.9")
    assert checkout.repro() == {"configure", "watch", "finetune", "evaluate"}
    resolved = (checkout.folder / "resolved.yaml").read_text()
    assert "learning_rate: 0.0002" in resolved
    assert "confidence: 0.9\n" in resolved

    draw((200, 50, 40), 99).save(checkout.folder.parent / "images" / "red" / "new.png")
    assert checkout.repro() == {"watch", "prepare", "train", "finetune", "evaluate"}
    assert "A comment that stays." in (checkout.folder / "params.yaml").read_text()

    # Each of the three is an experiment of its own, whole in the store, whatever DVC skipped.
    experiments = checkout.experiments()
    assert len(experiments) == 3
    for run in experiments:
        assert {
            "prepare/images",
            "train/val_accuracy",
            "finetune/val_accuracy",
            "test/accuracy",
            "test/accuracy_low",
        } <= set(run.data.metrics)
    computed = [run for run in experiments if run.data.tags["train.computed_by"] == run.info.run_id]
    assert len(computed) == 2


def test_the_same_configuration_again_is_taken_from_dvcs_cache(checkout):
    checkout.edit("conf/evaluate/default.yaml", "confidence: 0.9\n", "confidence: 0.95\n")
    checkout.edit("conf/evaluate/default.yaml", "confidence: 0.95\n", "confidence: 0.9\n")
    assert checkout.repro() == {"watch"}


def test_what_was_measured_can_be_compared(checkout):
    assert "outputs/evaluate/metrics.json" in checkout.dvc("metrics", "show")
    assert "finetune.accuracy" in checkout.dvc("metrics", "diff", "--all")
    assert (checkout.folder / "dvc_plots").exists() or "index.html" in checkout.dvc("plots", "diff", "-o", "dvc_plots")


def test_an_experiment_runs_just_the_stages_that_its_change_reaches(checkout):
    checkout.commit("before experiments")
    said = checkout.dvc("exp", "run", "-S", "finetune.learning_rate=3e-5")
    assert {stage for stage in STAGES if f"Running stage '{stage}'" in said} == {
        "configure",
        "watch",
        "finetune",
        "evaluate",
    }
    newest = checkout.experiments()[0]
    assert newest.data.params["finetune.learning_rate"] == "3e-05"
    assert "3e-05" in checkout.dvc("exp", "show", "--csv")
