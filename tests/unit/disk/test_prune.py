"""What nothing refers to is pruned first, then what was used longest ago; what is in use stays."""

import os
import shutil

import pytest
from filelock import FileLock

from pipeline.disk.contents import contents, job_folders
from pipeline.disk.prune import Pruned, prune
from pipeline.jobs.job_folders import record
from pipeline.storage.entries import folder_size
from tests.support.cached import add_images, add_result


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Results of three stages: that of train, used last, is of a job that is gone; that of prepare was used first."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    add_result(cache, tmp_path / "runs" / "one", "prepare", "1a")
    add_result(cache, tmp_path / "runs" / "one", "evaluate", "2b")
    add_result(cache, tmp_path / "runs" / "two", "train", "3c")
    record(cache, tmp_path / "runs" / "two", "", "train-3c")
    shutil.rmtree(tmp_path / "runs" / "two")
    for time, name in enumerate(["prepare-1a", "evaluate-2b", "train-3c"], 1):
        os.utime(cache / "stages" / name / "run.json", (time, time))
    return cache


def pruned(cache, budget: int, *, dry_run: bool = False) -> Pruned:
    return prune(cache, contents(cache, job_folders(cache)), budget, dry_run=dry_run)


def left(cache) -> list[str]:
    return sorted(each.name for each in (cache / "stages").glob("[!.]*"))


def removed(outcome: Pruned) -> list[str]:
    return [content.what for content in outcome.removed]


def test_order(cache):
    assert removed(pruned(cache, folder_size(cache))) == []
    assert removed(pruned(cache, folder_size(cache) - 1)) == ["result of train"]
    assert left(cache) == ["evaluate-2b", "prepare-1a"]
    assert removed(pruned(cache, folder_size(cache) - 1)) == ["result of prepare"]
    assert removed(pruned(cache, 0)) == ["result of evaluate"]
    assert left(cache) == []


def test_the_size_afterwards_is_that_of_the_folder(cache):
    outcome = pruned(cache, folder_size(cache) - 1)
    # Records of folders that are gone are removed too.
    assert not list((cache / "jobs").iterdir())
    assert folder_size(cache) == outcome.size


def test_a_dry_run_removes_nothing(cache):
    before = sorted(cache.rglob("*.json"))
    outcome = pruned(cache, 0, dry_run=True)
    assert removed(outcome) == ["result of train", "result of prepare", "result of evaluate"]
    assert sorted(cache.rglob("*.json")) == before


def test_what_a_process_has_locked_stays(cache):
    with FileLock(cache / "stages" / ".train-3c.lock"):
        outcome = pruned(cache, 0)
    assert [content.what for content in outcome.in_use] == ["result of train"]
    assert left(cache) == ["train-3c"]


def test_decoded_images_and_leftovers_are_pruned_too(cache):
    name = add_images(cache, 1)
    leftover = cache / "stages" / ".report-4d-x1y2z3"
    leftover.mkdir()
    (leftover / "file").write_bytes(b"x")
    outcome = pruned(cache, 0)
    assert {"5 images, 4 px", "unfinished"} <= set(removed(outcome))
    assert not (cache / name).exists()
    assert not leftover.exists()


def test_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pruned(tmp_path / "cache", 0) == Pruned(0)
