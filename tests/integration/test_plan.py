"""The plan of a command, and what a sweep reports."""

import shutil

import pytest

from pipeline.jobs.planner import Planner
from pipeline.storage.files import files_below
from tests.support.commands import small
from tests.support.experiments import run_stages


def rows(output: str) -> dict[str, str]:
    """The rows of a table by their first word; the sentences below it come later."""
    words = [line.split() for line in output.splitlines()]
    return {first: " ".join(others) for first, *others in reversed(words)}


@pytest.mark.parametrize("stage", ["pipeline", "pipeline.train"])
def test_a_plan_of_one_job_leaves_nothing(command, tmp_path, images, stage):
    planned = command(stage, "plan=true", *small(images, tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert rows(planned.stdout)["train"].startswith("computed")
    assert ("finetune" in rows(planned.stdout)) == (stage == "pipeline")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_a_sweep_leaves_nothing(command, tmp_path, images):
    planned = command("pipeline", "-m", "plan=true", *small(images, tmp_path, "finetune.unfreeze=all,-1"))
    assert planned.returncode == 0, planned.stderr
    assert rows(planned.stdout)["1"].startswith("unfreeze all 60 images 2 steps 2 steps 12 images compute")
    assert rows(planned.stdout)["2"].startswith("unfreeze -1 job 1 job 1 2 steps 12 images compute")
    assert list(tmp_path.iterdir()) == []


def test_a_search_has_no_plan(command, tmp_path, images):
    planned = command("pipeline", "-m", "plan=true", "hydra/sweeper=optuna", *small(images, tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout == "A search can't be planned: it chooses each job by the results of earlier ones.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_plan_loads_no_network_and_no_tracking(command, tmp_path, images):
    planned = command("pipeline", "plan=true", *small(images, tmp_path), PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in planned.stderr.splitlines()}
    assert "hydra" in imported
    assert not {"tensorflow", "keras", "mlflow"} & imported


def test_a_plan_knows_what_exists(configure, tmp_path):
    """In the folder of a job, in the cache, and of a training that was interrupted."""
    config = configure("backbone=scratch_cnn", "train.epochs=1")
    experiment = run_stages(config, tmp_path / "jobs" / "first", "train")

    def plan(*overrides: str, sweep: bool = True, folder: str = "jobs/other"):
        planner = Planner("train", sweep=sweep, remember=False)
        planner.add("", configure("backbone=scratch_cnn", "train.epochs=1", *overrides), lambda _: tmp_path / folder)
        [job] = planner.plan().jobs
        return job

    def actions(job):
        return [(str(step.action), step.source) for step in job.steps]

    before = {file: file.stat().st_mtime_ns for file in files_below(tmp_path)}
    assert actions(plan(folder="jobs/first")) == [("present", ""), ("present", "")]
    assert plan(folder="jobs/first").complete
    # A single job that is complete is run again.
    assert actions(plan(folder="jobs/first", sweep=False)) == [("present", ""), ("compute", "")]
    assert actions(plan()) == [("take", experiment.key[:6])] * 2
    assert plan().needs == {}
    other = plan("train.dropout=0.5")
    assert actions(other) == [("take", experiment.key[:6]), ("compute", "")]
    assert other.steps[1].seconds > 0
    assert other.steps[1].size > 10_000
    assert {file: file.stat().st_mtime_ns for file in files_below(tmp_path)} == before

    (tmp_path / "cache" / f"resume-train-{other.steps[1].key}").mkdir()
    (tmp_path / "cache" / f"resume-train-{other.steps[1].key}" / "train.npz").touch()
    assert actions(plan("train.dropout=0.5"))[1] == ("resume", "")
    # A truncated result does not count.
    (tmp_path / "jobs" / "first" / "train" / "model.keras").write_bytes(b"")
    shutil.rmtree(tmp_path / "cache" / "stages")
    assert actions(plan(folder="jobs/first")) == [("present", ""), ("compute", "")]


@pytest.mark.slow
def test_a_sweep_reports_each_job_and_ends_with_the_comparison(command, tmp_path, images):
    sweep = ["pipeline", "-m", *small(images, tmp_path), "tracking.experiment=mine", "finetune.warmup_epochs=0"]
    one = command(*sweep, "finetune.learning_rate=1e-4,1e30")
    assert one.returncode == 1
    report = one.stderr
    assert "2 jobs: 2 to run, prepare computed once and taken once, train computed once and taken once." in report
    assert "job 1 of 2: learning_rate 0.0001\n" in report
    assert "job 1 of 2: done, test accuracy " in report
    assert "job 2 of 2: learning_rate 1e+30, " in report
    assert "job 2 of 2 (learning_rate 1e+30): failed: The training diverged in epoch 2" in report
    assert "python -m pipeline.compare --sweep tracking.experiment=mine --html" in report
    assert "[job" not in report
    assert "HYDRA_FULL_ERROR" not in report

    two = command(*sweep, "finetune.learning_rate=1e-4,1e30,1e-3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    report = two.stderr
    assert "3 jobs: 1 complete, 1 to run, 1 will not run" in report
    assert "Job 2 will not run: failed before" in report
    assert "[job 3 of 3: learning_rate 0.001] finetune: started" in report
    assert "prepare, train: row" in report
    assert "1 done, 1 failed before, 1 skipped" in report
    # One of the experiments in the table belongs to another sweep.
    assert "python -m pipeline.compare --runs " in report
