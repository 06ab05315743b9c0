"""A cache knows the job folders that use it, wherever they are."""

import shutil
from dataclasses import replace

from pipeline.jobs.job_folders import JobFolder, record, recorded
from pipeline.storage.files import read_json, write_json
from tests.support.cached import add_result


def test_a_folder_refers_to_its_results_and_to_what_they_were_computed_from(tmp_path):
    cache, job = tmp_path / "cache", tmp_path / "job"
    add_result(cache, job, "prepare", "1", by="vgg16 flowers -1 aaaaaa")
    add_result(cache, job, "train", "2", by="resnet50 flowers -1 bbbbbb", entries=("images-3", "frozen-4"))
    # Nobody's.
    (job / "find_lr").mkdir()
    found = JobFolder.read(job)
    assert found.uses == ["frozen-4", "images-3", "prepare-1", "train-2"]
    assert found.experiment == "resnet50 flowers -1 bbbbbb"
    assert JobFolder.read(job, "another").experiment == "another"


def test_a_damaged_or_early_result_refers_to_what_is_known(tmp_path):
    add_result(tmp_path / "cache", tmp_path / "job", "train", "2")
    run = read_json(tmp_path / "job" / "train" / "run.json")
    write_json(tmp_path / "job" / "train" / "run.json", {"stage_key": run["stage_key"]})
    (tmp_path / "job" / "prepare").mkdir()
    (tmp_path / "job" / "prepare" / "run.json").write_text("{")
    assert JobFolder.read(tmp_path / "job").uses == ["train-2"]


def test_a_record_has_the_result_that_is_computed_now(tmp_path):
    cache, job = tmp_path / "cache", tmp_path / "job"
    add_result(cache, job, "prepare", "1")
    record(cache, job, "vgg16 flowers -1 aaaaaa", "train-2")
    [(file, found)] = recorded(cache).items()
    assert found.uses == ["prepare-1", "train-2"]
    assert found.folder == str(job)
    assert not found.is_gone
    record(cache, job, "vgg16 flowers -1 aaaaaa", "train-3")
    assert {key: each.uses for key, each in recorded(cache).items()} == {file: ["prepare-1", "train-3"]}


def test_a_folder_is_gone_only_where_it_was(tmp_path):
    (tmp_path / "job").mkdir()
    record(tmp_path / "cache", tmp_path / "job", "", "train-2")
    shutil.rmtree(tmp_path / "job")
    [found] = recorded(tmp_path / "cache").values()
    assert found.is_gone
    assert not replace(found, machine="another").is_gone
