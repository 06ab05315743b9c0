"""Messages of a sweep's jobs."""

import pytest

from pipeline.jobs.job import JobResult, JobStatus
from pipeline.jobs.progress import SweepJob, outcome
from pipeline.storage.files import write_json
from pipeline.system.processes import JOB

TRAIN = {"stage": "train", "images": 10, "epochs": 2}


@pytest.fixture
def cache(tmp_path):
    """A cache with a result of stage train that took 30 s for half of the images."""
    state = {"work": TRAIN | {"images": 5}, "seconds": 30.0, "files": {}}
    write_json(tmp_path / "stages" / "train-k" / "run.json", state)
    return tmp_path


@pytest.mark.parametrize(
    ("left", "workers", "message"),
    [
        ([(TRAIN, 3)], 1, "job 2 of 12: unfreeze -1, about 3 min left"),
        ([(TRAIN, 3)], 2, "job 2 of 12: unfreeze -1, about 90 s left"),
        ([(TRAIN, 3), ({"stage": "report"}, 1)], 1, "job 2 of 12: unfreeze -1, more than 3 min left"),
        ([({"stage": "report"}, 1)], 1, "job 2 of 12: unfreeze -1"),
        ([(TRAIN, 3)], None, "job 2 of 12: unfreeze -1"),
    ],
)
def test_the_time_left_follows_from_the_results_in_the_cache(cache, left, workers, message):
    assert SweepJob(2, 12, "unfreeze -1", left, workers).start(cache) == message


def test_a_job_of_a_search_has_a_number_only(tmp_path):
    assert SweepJob(2, None, "unfreeze -1", [], None).start(tmp_path) == "job 2: unfreeze -1"


def test_a_job_reads_its_place_from_its_process(monkeypatch):
    monkeypatch.delenv(JOB, raising=False)
    assert SweepJob.of_process() is None
    monkeypatch.setenv(JOB, SweepJob(2, 3, "a", [(TRAIN, 1)], 1).as_json())
    place = SweepJob.of_process()
    assert (place.name, place.prefix) == ("job 2 of 3", "[job 2 of 3: a] ")
    assert place.left == [[TRAIN, 1]]


def test_a_long_label_is_cut_in_the_prefix():
    assert len(SweepJob(1, 2, "x" * 200, [], 1).prefix) < 60


def test_an_outcome_has_the_accuracy_of_the_better_phase(tmp_path):
    done = JobResult(JobStatus.DONE, str(tmp_path), "k", figures={"val_accuracy": 0.5})
    assert outcome(done) == "done, validation accuracy 0.5000"
    best = {"accuracy": 0.95, "accuracy_low": 0.93, "accuracy_high": 0.97}
    write_json(tmp_path / "evaluate" / "metrics.json", {"best": "finetune", "finetune": best, "train": {}})
    assert outcome(done) == "done, test accuracy 0.9500 (0.9300 to 0.9700)"
    assert SweepJob(1, 2, "a", [], 1).end(done, 34) == "job 1 of 2: done, test accuracy 0.9500 (0.9300 to 0.9700), 34 s"
    failed = JobResult(JobStatus.FAILED, str(tmp_path), "k", "no space")
    assert outcome(failed) == "failed: no space"
    assert SweepJob(1, 2, "a", [], 1).end(failed, 34) == "job 1 of 2: failed, 34 s"
