"""All that a checkout holds is in exactly one part."""

import shutil
from pathlib import Path

import pytest

from pipeline.disk.contents import contents, job_folders
from pipeline.disk.parts import Part, parts
from pipeline.jobs.job_folders import record
from pipeline.storage.entries import folder_size
from tests.support.cached import add_images, add_result


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def found(configure, checkout: Path) -> dict[str, Part]:
    cache = checkout / "cache"
    jobs = job_folders(cache)
    return {part.name: part for part in parts(configure().tracking, cache, jobs, contents(cache, jobs))}


def test_a_checkout_that_has_run_nothing(configure, checkout):
    (checkout / "mlflow.db").unlink()
    assert {name for name in found(configure, checkout) if name != "MLflow: database"} == set()


def test_sizes_and_what_is_unused(configure, checkout):
    cache = checkout / "cache"
    add_result(cache, checkout / "runs" / "one", "train", "1a")
    add_result(cache, checkout / "outputs", "train", "2b")
    add_result(cache, checkout / "another place", "train", "3c")
    add_result(cache, checkout / "removed", "train", "4d")
    shutil.rmtree(checkout / "removed")
    record(cache, checkout / "another place", "", "train-3c")
    add_images(cache, 1)
    (checkout / ".dvc" / "cache").mkdir(parents=True)
    (checkout / ".dvc" / "cache" / "file").write_bytes(b"x" * 100)
    (checkout / "mlartifacts" / "stranger").mkdir(parents=True)
    (checkout / "mlartifacts" / "stranger" / "file").write_bytes(b"x" * 200)
    named = found(configure, checkout)

    one = folder_size(checkout / "runs")
    assert named["job folders in runs/"] == Part("job folders in runs/", one, 1)
    assert named["job folders elsewhere"].number == 1
    assert named["outputs/ of dvc repro"] == Part("outputs/ of dvc repro", one)
    assert named["DVC: cache"] == Part("DVC: cache", 100)
    assert named["MLflow: files of runs"] == Part("MLflow: files of runs", 200, 1, 200)
    assert named["MLflow: database"].size == (checkout / "mlflow.db").stat().st_size
    assert named["cache: results of stages"] == Part("cache: results of stages", 4 * one, 4, one)
    images = named["cache: decoded images"]
    assert (images.number, images.unused) == (1, images.size)
    assert sum(part.size for name, part in named.items() if name.startswith("cache")) == folder_size(cache)


def test_files_of_a_server_are_not_those_of_the_checkout(configure, checkout):
    jobs = job_folders(checkout / "cache")
    tracking = configure("tracking.uri=http://127.0.0.1:9").tracking
    assert parts(tracking, checkout / "cache", jobs, []) == []
