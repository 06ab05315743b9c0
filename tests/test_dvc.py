"""The stages under the real DVC, in a clone of this repository, on made pictures."""

import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from pipeline.checkout import CODE
from tests.conftest import draw, write_pictures

STAGES = ("configure", "watch", "prepare", "train", "finetune", "evaluate")
PARAMS = """# A comment that stays.
experiment: null
seed: null
image_size: 32
dataset: {{name: folder, path: {pictures}, test: null}}
backbone: scratch_cnn
augment: {{name: null, views: null}}
train: {{name: null, epochs: 1, batch_size: null, learning_rate: null}}
finetune: {{name: null, epochs: 1, learning_rate: null, unfreeze: null}}
evaluate: null
hardware: {{name: null, precision: null}}
tracking: {{name: null, uri: null, experiment: null}}
"""


class Checkout:
    """A clone of the code as it stands now, where DVC runs."""

    def __init__(self, folder: Path, pictures: Path):
        self.folder = folder
        subprocess.run(["git", "clone", "-q", CODE, folder], check=True)
        changed = (
            self._git("-C", CODE, "diff", "--name-only", "HEAD").split()
            + self._git("-C", CODE, "ls-files", "-o", "--exclude-standard").split()
        )
        for name in changed:
            if (CODE / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((CODE / name).read_bytes())
        (folder / "params.yaml").write_text(PARAMS.format(pictures=pictures))
        self._git("config", "user.email", "test@example.org")
        self._git("config", "user.name", "test")
        self.commit("start")

    def _git(self, *arguments) -> str:
        return subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def commit(self, message: str) -> None:
        self._git("add", "-A")
        self._git("commit", "-q", "-m", message)

    def dvc(self, *arguments: str) -> str:
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DVC_", "PYTEST_", "PYTHONPATH", "MLFLOW_TRACKING"))
        }
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        ran = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=self.folder, env=env, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def repro(self) -> set[str]:
        """Run what is not up to date, and say what ran."""
        said = self.dvc("repro")
        return {stage for stage in STAGES if f"Running stage '{stage}'" in said}

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def experiments(self):
        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        return [run for run in client.search_runs(["1"]) if run.data.tags.get("complete") == "true"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    folder = tmp_path_factory.mktemp("dvc")
    return Checkout(folder / "clone", write_pictures(folder / "pictures", per_class=10))


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

    draw((200, 50, 40), 99).save(checkout.folder.parent / "pictures" / "red" / "new.png")
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


def test_queued_experiments_land_in_this_checkouts_store(checkout):
    checkout.edit("params.yaml", "backbone: scratch_cnn", "backbone: {name: null, weights: null}")
    checkout.commit("as shipped")
    before = len(checkout.experiments())
    checkout.dvc("exp", "run", "--queue", "-S", "seed=7", "-S", "backbone=scratch_cnn,efficientnet_lite0")
    checkout.dvc("queue", "start")
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and any(
        word in checkout.dvc("queue", "status") for word in ("Queued", "Running")
    ):
        time.sleep(2)
    status = checkout.dvc("queue", "status")
    assert status.count("Success") == 2, status
    queued = checkout.experiments()[: len(checkout.experiments()) - before]
    assert {run.data.params["backbone.name"] for run in queued} == {"scratch_cnn", "efficientnet_lite0"}
    artifacts = f"file://{checkout.folder}/mlartifacts/"
    assert all(run.info.artifact_uri.startswith(artifacts) for run in queued)
    assert all(Path(run.info.artifact_uri.removeprefix("file://"), "train", "curves.png").exists() for run in queued)
    assert checkout.dvc("exp", "show", "--csv").count("scratch_cnn") >= 2
