"""The cache's contents have the names of the experiments that use them."""

import os
import shutil

import pytest

from pipeline.disk.contents import contents, job_folders
from pipeline.jobs.job_folders import record
from pipeline.storage.files import read_json, write_json
from tests.support.cached import add_images, add_result

ONE, TWO = "vgg16 flowers -1 aaaaaa", "vgg16 flowers -2 bbbbbb"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Of two experiments that share their first result; one has its folder in runs/, the other one elsewhere."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    images = add_images(cache, 1, by=ONE)
    add_result(cache, tmp_path / "runs" / "one", "train", "1a2b", by=ONE, entries=(images,))
    shutil.copytree(tmp_path / "runs" / "one", tmp_path / "elsewhere")
    add_result(cache, tmp_path / "elsewhere", "finetune", "3c4d", by=TWO)
    record(cache, tmp_path / "runs" / "one", ONE, "train-1a2b")
    record(cache, tmp_path / "elsewhere", TWO, "finetune-3c4d")
    return cache


def found(cache) -> dict[str, tuple[list[str], int]]:
    return {each.what: (each.experiments, each.jobs) for each in contents(cache, job_folders(cache))}


def test_all_that_use_an_entry_are_named(cache):
    shared = ([ONE, TWO], 2)
    assert found(cache) == {"5 images, 4 px": shared, "result of train": shared, "result of finetune": ([TWO], 1)}


def test_what_no_folder_refers_to_has_the_name_of_its_maker(cache, tmp_path):
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "elsewhere")
    nobody = ([ONE], 0)
    assert found(cache) == {"5 images, 4 px": nobody, "result of train": nobody, "result of finetune": ([TWO], 0)}


def test_folders_in_reach_need_no_record(cache, tmp_path):
    shutil.rmtree(cache / "jobs")
    (tmp_path / "elsewhere").rename(tmp_path / "outputs")
    assert found(cache)["result of train"] == ([ONE, TWO], 2)


def test_a_folder_of_another_machine_counts_as_it_was_recorded(cache, tmp_path):
    for file in (cache / "jobs").iterdir():
        write_json(file, read_json(file) | {"machine": "another"})
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "elsewhere")
    # The one recorded no images, which its last stage used.
    assert found(cache)["result of train"] == ([ONE, TWO], 2)


def test_what_was_used_last_comes_first(cache):
    for number, name in enumerate(["finetune-3c4d", "train-1a2b"]):
        os.utime(cache / "stages" / name / "run.json", (number, number))
    assert [each.what for each in contents(cache, [])] == ["5 images, 4 px", "result of train", "result of finetune"]


def test_an_empty_cache_has_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert contents(tmp_path / "cache", job_folders(tmp_path / "cache")) == []


def test_damaged_descriptions_hide_no_entry(cache):
    (cache / "stages" / "train-1a2b" / "run.json").write_text("{")
    [images] = cache.glob("images-*/entry.json")
    images.write_text("[]")
    assert sorted(each.what for each in contents(cache, [])) == ["damaged", "damaged", "result of finetune"]
