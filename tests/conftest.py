"""What the tests share: made images, small configurations, and a tracking store of each test's own."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pipeline  # noqa: F401  (says what TensorFlow reads at its import)

# isort: split
import mlflow
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.config import Config
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.system.paths import CODE

# TensorFlow's runtime fixes them when the first test starts it.
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)

COLOURS = {"blue": (40, 60, 200), "green": (40, 170, 60), "red": (200, 50, 40)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no worker ends long after the others."""
    longest = ["test_dvc.py", "test_dvc_queue.py", "test_commands.py", "test_stages.py", "test_backbones.py"]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


def draw(colour: tuple[int, int, int], number: int, size: int = 40) -> Image.Image:
    """A noisy image of one colour, each number another one."""
    noise = np.random.default_rng([number, *colour]).integers(-40, 40, (size, size, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def write_images(folder: Path, per_class: int = 20, classes: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """A folder of class sub-folders with PNG files."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            # The same image in two classes would be a conflict.
            draw(COLOURS.get(name, tuple(sha256(name.encode()).digest()[:3])), number).save(
                folder / name / f"{number:03}.png"
            )
    return folder


def small_arguments(images: Path) -> list[str]:
    """Overrides for the shortest whole experiment."""
    short = ["image_size=32", "train.epochs=1", "finetune.epochs=1"]
    return ["dataset=folder", f"dataset.path={images}", f"cache_folder={images.parent}/cache", *short]


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Sixty images of three classes, no splits; not to be changed."""
    return write_images(tmp_path_factory.mktemp("images") / "colours")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An initialised MLflow database, since making one takes seconds."""
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
    """Runs `python -m pipeline...` in a folder of the test's own, as a user would, and gives what came of it."""

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
