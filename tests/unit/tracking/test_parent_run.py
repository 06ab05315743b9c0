"""The run of a sweep in a real store: found again, never taken for an experiment, and no need for a store."""

import mlflow
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.comparison.experiments import find
from pipeline.config import TrackingConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.system import processes
from pipeline.tracking.new_run import create_run
from pipeline.tracking.parent_run import ParentRun
from pipeline.tracking.run_finder import StageContext, find_run
from pipeline.tracking.store import connect, experiment_runs
from pipeline.tracking.tags import SWEEP_KEY


def opened(tracking: TrackingConfig, key: str = "a") -> ParentRun:
    return ParentRun(tracking, "sweep of seeds", identity=(SWEEP_KEY, key), tags={"role": "sweep", "sweep": "seed=1,2"})


def test_the_same_sweep_goes_on_in_its_run_and_another_has_its_own(configure, tmp_path):
    tracking = configure().tracking
    client, _ = connect(tracking)
    first = opened(tracking)
    assert client.get_run(first.id).info.status == "RUNNING"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "jobs.csv").write_text("x")
    first.log(tmp_path / "out", "sweep", metrics={"sweep/jobs": 2.0}, tags={"best_run": "b"})
    first.end("KILLED")
    run = client.get_run(first.id)
    assert (run.info.status, run.data.metrics, run.data.tags["best_run"]) == ("KILLED", {"sweep/jobs": 2.0}, "b")
    assert [item.path for item in client.list_artifacts(first.id, "sweep")] == ["sweep/jobs.csv"]
    again, other = opened(tracking), opened(tracking, "b")
    assert again.id == first.id != other.id
    assert client.get_run(first.id).info.status == "RUNNING"
    again.end("FINISHED")
    assert client.get_run(first.id).info.status == "FINISHED"


def test_jobs_are_nested_in_their_first_sweep(configure, monkeypatch):
    config = configure()
    client, experiment_id = connect(config.tracking)
    alone = client.get_run(create_run(client, experiment_id, "0" * 16, config))
    assert MLFLOW_PARENT_RUN_ID not in alone.data.tags
    first, second = opened(config.tracking), opened(config.tracking, "b")
    monkeypatch.setenv(processes.PARENT, first.id)
    nested = client.get_run(create_run(client, experiment_id, "1" * 16, config))
    second.adopt([alone, nested])
    assert client.get_run(alone.info.run_id).data.tags[MLFLOW_PARENT_RUN_ID] == second.id
    assert client.get_run(nested.info.run_id).data.tags[MLFLOW_PARENT_RUN_ID] == first.id


def test_it_is_never_taken_for_an_experiment(configure, tmp_path):
    config = configure()
    client, experiment_id = connect(config.tracking)
    parent = opened(config.tracking)
    # Tags of an experiment do not make it one.
    for name, value in {"complete": "true", "experiment_key": "0" * 16, "test_data": "d"}.items():
        client.set_tag(parent.id, name, value)
    assert find(config.tracking) == find(config.tracking, sweep="") == experiment_runs(config.tracking) == []
    context = StageContext("0" * 16, "prepare", tmp_path, (), resumes=False, computed=False)
    assert find_run(client, experiment_id, context, parent.id) is None


def test_without_a_store_a_sweep_goes_on(caplog, tmp_path):
    parent = opened(check(composed(["tracking.uri=http://127.0.0.1:9"])).tracking)
    assert parent.id is None
    assert "the run of the sweep could not be opened" in caplog.text
    parent.adopt([])
    parent.log(tmp_path, "sweep", metrics={}, tags={})
    parent.end("FINISHED")


def test_a_store_that_goes_away_does_not_end_the_sweep(configure, caplog, monkeypatch):
    parent = opened(configure().tracking)

    def away(*_args, **_options):
        raise mlflow.MlflowException("away")

    monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", away)
    parent.end("FINISHED")
    assert "could not be marked as FINISHED: away" in caplog.text


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level("WARNING", "pipeline")
