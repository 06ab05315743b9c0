"""Fixtures of all tests. TensorFlow and MLflow are imported by the tests that need them, never here."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.system.paths import CODE
from tests.support.experiments import FinishedExperiment, run_stages
from tests.support.images import write_images


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no worker ends long after the others."""
    longest = ["test_dvc.py", "test_dvc_queue.py", "test_commands.py", "test_stages_outputs.py", "test_backbones.py"]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


@pytest.fixture(scope="session", autouse=True)
def two_threads(import_path):
    """TensorFlow on two threads, in sessions that have imported it; its runtime fixes them when it starts."""
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.config.threading.set_intra_op_parallelism_threads(2)
        tensorflow.config.threading.set_inter_op_parallelism_threads(2)


@pytest.fixture(scope="session")
def import_path() -> tuple[str, ...]:
    """Folders that modules are imported from, before any test."""
    return tuple(sys.path)


@pytest.fixture(autouse=True)
def same_import_path(import_path, monkeypatch):
    """The code of a model that MLflow loads comes before this checkout: processes of later tests would run it."""
    monkeypatch.setattr(sys, "path", [*import_path])


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Sixty images of three classes, no splits; not to be changed."""
    return write_images(tmp_path_factory.mktemp("images") / "colours")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An initialised MLflow database, since making one takes seconds."""
    import mlflow

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def configure(tmp_path, images, empty_store):
    """Makes checked configurations of a small experiment on the made images, logged to a store in the test's folder."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")

    def make(*overrides: str) -> Config:
        small = [
            "dataset=folder",
            f"dataset.path={images}",
            "image_size=32",
            "train.epochs=2",
            "finetune.epochs=2",
            f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
            f"cache_folder={tmp_path}/cache",
            "tracking.system_metrics_interval=null",
            "hardware.intra_op_threads=2",
            "hardware.inter_op_threads=2",
        ]
        return check(composed([*small, *overrides]))

    return make


@pytest.fixture
def command(tmp_path):
    """Runs `python -m pipeline...` in a folder of the test's own, as a user would, and returns the ended process."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path,
            env=run.environment | environment,
            capture_output=True,
            text=True,
        )

    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    run.environment = os.environ | {"PYTHONPATH": str(CODE)} | store
    return run


@pytest.fixture(scope="session")
def experiment(tmp_path_factory, images, empty_store) -> FinishedExperiment:
    """A finished experiment, one for each worker; not to be changed."""
    folder = tmp_path_factory.mktemp("experiment")
    shutil.copy(empty_store, folder / "mlflow.db")
    config = check(
        composed(
            [
                "dataset=folder", f"dataset.path={images}", "image_size=32", "train.epochs=8", "train.learning_rate=0.02", "finetune.epochs=3", "augment=light",
                f"tracking.uri=sqlite:///{folder}/mlflow.db", f"cache_folder={folder}/cache", "tracking.system_metrics_interval=0.5",
                "hardware.intra_op_threads=2", "hardware.inter_op_threads=2",
            ]
        )
    )  # fmt: skip
    return FinishedExperiment(config, folder / "job", run_stages(config, folder / "job").key)


@pytest.fixture
def own_experiment(experiment, tmp_path) -> FinishedExperiment:
    """A copy of the finished experiment with a store and a cache of its own, for a test that runs stages again."""
    shutil.copytree(experiment.root, tmp_path / "job")
    shutil.copytree(experiment.config.cache_folder, tmp_path / "cache")
    shutil.copy(experiment.root.parent / "mlflow.db", tmp_path / "mlflow.db")
    tracking = replace(experiment.config.tracking, uri=f"sqlite:///{tmp_path}/mlflow.db")
    config = replace(experiment.config, tracking=tracking, cache_folder=f"{tmp_path}/cache")
    return FinishedExperiment(config, tmp_path / "job", experiment.key)
