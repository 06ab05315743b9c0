"""The work of stages, and estimates from earlier results."""

from pathlib import Path

import pytest

from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.jobs.work import Earlier, earlier_results, estimated_seconds, most_alike, read_counts, work_of
from pipeline.stages import STAGES
from pipeline.storage.files import write_json

COUNTS = {"all": 100, "train": 65, "validation": 15, "test": 20}


def work(stage: str, *overrides: str, counts=COUNTS):
    return work_of(stage, check(composed(list(overrides))), counts)


def test_a_training_has_steps_in_all_epochs_of_all_rounds():
    assert work("train", "train.epochs=3", "train.batch_size=32")["steps"] == 9
    rounds = "finetune.phases=[{epochs: 2}, {unfreeze: all}]"
    tuned = work("finetune", rounds, "finetune.epochs=5", "finetune.batch_size=65")
    assert (tuned["epochs"], tuned["steps"]) == (7, 7)
    fitted = work("train", "train.head=ridge")
    assert (fitted["epochs"], fitted["steps"]) == (1, 1)


@pytest.mark.parametrize(("stage", "images"), [("prepare", 100), ("train", 65), ("finetune", 65), ("evaluate", 20)])
def test_a_stage_works_on_its_images(stage, images):
    assert work(stage)["images"] == images
    assert work(stage, counts=None)["images"] is None


@pytest.mark.parametrize("stage", STAGES)
def test_a_work_without_numbers_of_images_has_no_estimate(stage):
    earlier = [Earlier(work(stage), 10.0, 1, 1.0)]
    assert estimated_seconds(work(stage), earlier) == 10.0
    assert estimated_seconds(work(stage, counts=None), earlier) == (10.0 if stage == "report" else None)
    assert estimated_seconds(work(stage), []) is None


def test_the_most_alike_result_is_used_and_the_latest_of_several():
    wanted = work("finetune", "finetune.unfreeze=-1")
    results = [
        Earlier(work("finetune", "finetune.unfreeze=-1"), 1.0, 1, ended=1.0),
        Earlier(work("finetune", "finetune.unfreeze=-1"), 2.0, 1, ended=2.0),
        Earlier(work("finetune", "finetune.unfreeze=-2"), 3.0, 1, ended=3.0),
        Earlier(work("finetune", "finetune.unfreeze=-1", "image_size=128"), 4.0, 1, ended=4.0),
        Earlier(work("finetune", "finetune.unfreeze=-1", "hardware.precision=float32"), 5.0, 1, ended=5.0),
        Earlier(work("train"), 6.0, 1, ended=6.0),
    ]
    assert most_alike(wanted, results) == results[1]
    assert most_alike(wanted, results[2:]) == results[2]
    assert most_alike(wanted, results[3:]) is None


def test_results_without_a_record_of_their_work_are_left_out(tmp_path: Path):
    files = {"a": {"bytes": 3}, "b": {"bytes": 4}}
    write_json(tmp_path / "new" / "run.json", {"work": {"stage": "report"}, "seconds": 2.5, "files": files})
    write_json(tmp_path / "old" / "run.json", {"seconds": 2.5, "files": files})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    [found] = earlier_results([*tmp_path.iterdir(), tmp_path / "missing"])
    assert (found.work, found.seconds, found.size) == ({"stage": "report"}, 2.5, 7)


def test_the_numbers_of_images_are_those_of_the_manifest(tmp_path):
    assert read_counts(tmp_path) is None
    images = {"images": 10, "train_images": 6, "validation_images": 2, "test_images": 2, "classes": 3}
    write_json(tmp_path / "metrics.json", images)
    assert read_counts(tmp_path) == {"all": 10, "train": 6, "validation": 2, "test": 2}


def test_a_rectangle_takes_as_long_as_the_same_rectangle():
    earlier = [
        Earlier(work("train", f"image_size={size}"), seconds, 1, ended=seconds)
        for size, seconds in (("[64,96]", 1.0), ("[96,64]", 2.0), ("96", 3.0))
    ]
    assert most_alike(work("train", "image_size=[64,96]"), earlier).seconds == 1.0
    assert most_alike(work("train", "image_size=[96,96]"), earlier).seconds == 3.0
