"""Shares that may only be read, and disks that are full: a recovery or a sentence, and nothing half-written."""

import logging
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.jobs.stage import is_done
from pipeline.stages import STAGES
from pipeline.storage.cache import Cache
from pipeline.storage.files import files_below
from pipeline.system.errors import PipelineError
from tests.support.checkouts import Checkout
from tests.support.experiments import run_stages
from tests.support.images import small_arguments, write_images

ROWS = np.arange(60, dtype=np.float32).reshape(20, 3)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[str], Path]]:
    """A file system in memory at `tmp_path/disk`; call it with mount's options: `ro`, `rw` or `size=...`."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems can't be mounted here")
    yield lambda options: (mount("-o", f"remount,{options}", str(place)), place)[1]
    subprocess.run(["umount", "--lazy", place], check=True)


def never(append):
    raise AssertionError("built again")


def entry(cache, build):
    return cache.rows("numbers", {"a": 1}, shape=(3,), dtype="float32", build=build)


def test_an_entry_is_read_where_nothing_can_be_written(disk):
    cache = Cache(disk("rw") / "cache")
    entry(cache, lambda append: append(ROWS))
    before = {file: file.stat().st_mtime_ns for file in cache.folder.rglob("*")}
    disk("ro")
    assert np.array_equal(entry(cache, never).take(np.arange(20)), ROWS)
    assert cache.fits("numbers", {"a": 1}, count=20, shape=(3,), dtype="float32", gib=1)
    assert not cache.fits("numbers", {"a": 2}, count=20, shape=(3,), dtype="float32", gib=1)
    assert {file: file.stat().st_mtime_ns for file in cache.folder.rglob("*")} == before


def test_a_damaged_entry_that_cannot_be_made_again_is_an_error(disk):
    cache = Cache(disk("rw") / "cache")
    entry(cache, lambda append: append(ROWS))
    [shard] = cache.folder.glob("numbers-*/*.bin")
    shard.write_bytes(shard.read_bytes()[:-1])
    disk("ro")
    with pytest.raises(PipelineError, match=r"cache_folder: .*can't be written to, and the numbers in .* are damaged"):
        entry(cache, never)
    disk("rw")
    assert np.array_equal(entry(cache, lambda append: append(ROWS)).take(np.arange(20)), ROWS)


def test_training_reads_what_a_read_only_cache_holds_and_computes_the_rest(configure, disk, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pipeline")
    place = disk("rw")
    config = configure(f"cache_folder={place}/cache", "hardware.frozen_batch_size=8")
    run_stages(config, tmp_path / "first", "train")
    [images] = (place / "cache").glob("images-*")
    # Not removed: what is mapped still would keep the file system from being made read-only.
    images.rename(place / "elsewhere")
    (place / "cache" / "stages").rename(place / "results elsewhere")
    left = sorted(place.rglob("*"))
    disk("ro")
    run_stages(config, tmp_path / "again", "train")
    assert "60 of 60 files were inspected before" in caplog.text
    assert "is full or read-only. Raise the limit or free disk space to cache them" in caplog.text
    assert "it is computed again" not in caplog.text
    assert "train can't be resumed if it is interrupted" in caplog.text
    one, two = (pd.read_csv(tmp_path / name / "train" / "history.csv") for name in ("first", "again"))
    pd.testing.assert_frame_equal(one, two)
    assert sorted(place.rglob("*")) == left


@pytest.mark.parametrize(
    ("command", "stages"),
    [("pipeline.train", STAGES[:2]), pytest.param("pipeline", STAGES, marks=pytest.mark.slow)],
)
def test_another_checkout_takes_all_results_from_a_read_only_share(configure, disk, tmp_path, command, stages):
    place, settings = disk("rw"), ["backbone=scratch_cnn", "train.epochs=1", "finetune.epochs=1"]
    first = run_stages(configure(f"cache_folder={place}/cache", *settings), tmp_path / "first", stages[-1])
    left = {file: file.stat().st_mtime_ns for file in place.rglob("*")}
    disk("ro")
    second = Checkout(tmp_path / "second", write_images(tmp_path / "copy"))
    threads = ["hardware.intra_op_threads=2", "hardware.inter_op_threads=2"]
    printed = second.python(command, f"cache_folder={place}/cache", *settings, *threads)
    assert [stage for stage in STAGES if f"{stage}: result copied from the cache" in printed] == list(stages)
    taken = second.folder / "runs" / first.key
    for file in (file for stage in stages for file in files_below(tmp_path / "first" / stage)):
        assert (taken / file.relative_to(tmp_path / "first")).read_bytes() == file.read_bytes()
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == left


def test_a_cache_that_cannot_be_written_to_is_listed_and_not_pruned(command, disk):
    cache = Cache(disk("rw") / "cache")
    entry(cache, lambda append: append(ROWS))
    disk("ro")
    listed = command("pipeline.cache", "--folder", str(cache.folder))
    assert "numbers" in listed.stdout, listed.stderr
    assert f"The cache is {cache.folder}, which is read-only." in listed.stdout
    pruned = command("pipeline.cache", "--folder", str(cache.folder), "--prune", "0 B")
    assert pruned.returncode == 1
    assert "can't be written to, so no entries can be removed" in pruned.stderr
    assert cache.has("numbers", {"a": 1})


@pytest.mark.parametrize("more", [[], ["-m"]])
def test_a_job_folder_that_cannot_be_written_to_is_named_before_any_work(command, disk, images, more):
    place = disk("ro")
    option = f"hydra.{'sweep' if more else 'run'}.dir={place}/jobs"
    ran = command("pipeline.train", *more, *small_arguments(images), option)
    assert ran.returncode == 1
    assert f"hydra.{'sweep' if more else 'run'}.dir: {place}/jobs is not writable; choose another folder" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("more", [[], ["-m"]])
def test_a_job_folder_that_cannot_be_created_is_named_before_any_work(command, images, more):
    """An administrator may write anywhere, but not everything is a place for files."""
    option = f"hydra.{'sweep' if more else 'run'}.dir=/proc/jobs"
    ran = command("pipeline.train", *more, *small_arguments(images), option)
    assert ran.returncode == 1
    assert re.search(r"dir: /proc/jobs (can't be created \(.*\)|is not writable); choose another folder", ran.stderr)
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("full", ["cache", "job"])
def test_the_same_command_resumes_once_a_full_disk_has_room(configure, disk, tmp_path, full):
    place = disk("size=20k")
    folders = {"cache": tmp_path / "cache", "job": tmp_path / "job"} | {full: place / full}
    config = configure("backbone=scratch_cnn", f"cache_folder={folders['cache']}")
    with pytest.raises(
        PipelineError, match=r"prepare: .*No space left.*Free disk space.*run the same command to resume"
    ):
        run_stages(config, folders["job"], "train")
    assert not [path for path in folders["job"].glob("*") if path.is_dir()]
    disk("size=64m")
    assert is_done("train", run_stages(config, folders["job"], "train"))
    [run] = mlflow.MlflowClient(config.tracking.uri).search_runs(["1"])
    history = mlflow.MlflowClient(config.tracking.uri).get_metric_history(run.info.run_id, "training/loss")
    assert sorted(point.step for point in history) == [1, 2]
