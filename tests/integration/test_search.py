"""Searches: their studies and trials, a database that several machines share, two objectives, every sampler."""

from itertools import product

import mlflow
import optuna
import pytest
import yaml
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from omegaconf import OmegaConf

from pipeline.config.compose import CONF
from pipeline.sweeps.optuna_search import Search, enqueue_grid
from pipeline.system.errors import PipelineError
from tests.support.commands import runs, small
from tests.support.servers import postgres, postgres_programs


def search(images, tmp_path, storage, *more):
    own = ["hydra/sweeper=optuna", f"hydra.sweeper.storage={storage}", "hydra.sweeper.study=small"]
    return ["pipeline.train", "-m", *small(images, tmp_path), *own, *more]


def trial_tags(tmp_path):
    """The numbers of the trials that have a run."""
    return sorted(int(run.data.tags["trial"]) for run in runs(tmp_path) if "trial" in run.data.tags)


@pytest.mark.server
@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")
def test_a_study_for_two_objectives_goes_on_in_postgresql(command, tmp_path, images):
    with postgres(tmp_path / "postgres") as database:
        searched = [
            "hydra.sweeper.sampler=random",
            "hydra.sweeper.objectives=[val_accuracy,seconds]",
            "train.dropout=interval(0.0,0.5)",
            "train.learning_rate=tag(log,interval(1e-4,1e-2))",
        ]
        for trials in (1, 3):
            ran = command(*search(images, tmp_path, database, *searched, f"hydra.sweeper.trials={trials}"))
            assert ran.returncode == 0, ran.stderr
        storage = optuna.storages.RDBStorage(database)
        trials = optuna.load_study(study_name="small", storage=storage).trials
        storage.remove_session()
        storage.engine.dispose()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert all(len(trial.values) == 2 and trial.values[1] > 0 for trial in trials)
    assert len({trial.params["train.dropout"] for trial in trials}) == 3
    assert trial_tags(tmp_path) == [0, 1, 2]
    assert "Best trial" in ran.stderr
    [search_run] = runs(tmp_path, "search")
    assert search_run.data.metrics["search/trials"] == 3
    logged = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").list_artifacts(search_run.info.run_id, "search")
    assert {file.path for file in logged} >= {"search/trials.csv", "search/history.png"}


@pytest.mark.slow
def test_a_grid_has_each_point_once_and_then_ends(command, tmp_path, images):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    grid = search(
        images, tmp_path, storage, "hydra.sweeper.sampler=grid", "seed=range(1,3)", "train.dropout=choice(0.5)"
    )
    for trials in (1, 20):
        ran = command(*grid, f"hydra.sweeper.trials={trials}")
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.count("train: started") == 1
    study = optuna.load_study(study_name="small", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    assert trial_tags(tmp_path) == [0, 1]


def test_what_a_study_has_of_a_grid_is_not_enqueued_again():
    study = optuna.create_study()
    values = {"dropout": [0.0, 0.5], "seed": [1, 2, 3]}
    space = {name: optuna.distributions.CategoricalDistribution(each) for name, each in values.items()}
    for trials in (2, 4, 20, 20):
        enqueue_grid(study, values, trials, seed=1)
        assert len(study.trials) == min(trials, 6)
        study.tell(study.ask(space), 0.5)
    while study.get_trials(states=[optuna.trial.TrialState.WAITING]):
        study.tell(study.ask(space), state=optuna.trial.TrialState.FAIL)
    enqueue_grid(study, values, 20, seed=1)
    points = [(trial.params["dropout"], trial.params["seed"]) for trial in study.trials]
    assert sorted(points) == sorted(product(*values.values()))


@pytest.mark.slow
def test_a_search_continues_its_study_and_ends_bad_trials(command, tmp_path, images):
    settings = [
        "hydra/sweeper=optuna",
        f"hydra.sweeper.storage=sqlite:///{tmp_path}/optuna.db",
        "hydra.sweeper.study=small",
    ]
    search = ["pipeline.train", "-m", *small(images, tmp_path, "train.epochs=3"), *settings]
    searched = [
        "hydra.sweeper.startup_trials=1",
        "hydra.sweeper.warmup_epochs=0",
        "train.learning_rate=tag(log,interval(1e-6,1e-1))",
    ]
    first = command(*search, *searched, "train.dropout=choice(0.0,0.5)", "hydra.sweeper.trials=2")
    assert first.returncode == 0, first.stderr
    second = command(*search, *searched, "train.dropout=choice(0.0,0.5)", "hydra.sweeper.trials=6")
    assert second.returncode == 0, second.stderr

    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/optuna.db")
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 6
    assert set(states) == {"COMPLETE", "PRUNED"}
    trials = [run for run in runs(tmp_path) if run.data.tags.get("study") == "small" and "trial" in run.data.tags]
    assert sorted(run.data.tags["trial"] for run in trials) == list("012345")
    assert {run.info.status for run in trials} == {"FINISHED", "KILLED"}
    [search_run] = runs(tmp_path, "search")
    assert search_run.data.metrics["search/val_accuracy"] == study.best_value
    assert search_run.info.status == "FINISHED"
    assert {run.data.tags[MLFLOW_PARENT_RUN_ID] for run in trials} == {search_run.info.run_id}
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert "search/history.png" in {file.path for file in client.list_artifacts(search_run.info.run_id, "search")}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampler=best"], "hydra.sweeper.sampler: invalid value 'best'; expected one of tpe, random, grid, nsga2"),
        (["objectives=[accuracy]"], "expected a list of val_accuracy, val_loss, seconds"),
        (["storage=postgresql://me:secret@db/x"], "contains a password"),
        (["trials=0"], "hydra.sweeper.trials: invalid value 0; expected an integer >= 1"),
        ([], "the search space is empty"),
    ],
)
def test_a_search_that_cannot_be_is_refused(overrides, message):
    settings = yaml.safe_load((CONF / "hydra" / "sweeper" / "optuna.yaml").read_text()) | {"seed": 1}
    del settings["_target_"]
    for override in overrides:
        name, _, value = override.partition("=")
        settings[name] = yaml.safe_load(value)
    with pytest.raises(PipelineError) as refused:
        Search(settings, OmegaConf.create(), [])
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_nothing_is_begun_for_a_search_that_cannot_be(command, tmp_path, images):
    ran = command("pipeline.train", "-m", "hydra/sweeper=optuna", *small(images, tmp_path))
    assert ran.returncode == 1
    assert "the search space is empty" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "mlflow.db").exists()
