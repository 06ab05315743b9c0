"""Report of an Optuna search as an MLflow run, with a table of all trials and charts."""

import tempfile
from itertools import accumulate
from pathlib import Path

import optuna
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis
from optuna.importance import get_param_importances
from optuna.trial import TrialState

from pipeline.config import TrackingConfig
from pipeline.jobs.job import OBJECTIVES
from pipeline.system.errors import PipelineError
from pipeline.tracking.store import connect, store_uri
from pipeline.visuals.style import charting, write_png

_LEAST_FOR_IMPORTANCE = 4


def log_search(study: optuna.Study, objectives: list[str], tracking: TrackingConfig) -> None:
    """Log a study to its MLflow run, which is shared by all commands that continue the study.

    Raises:
        PipelineError: The store can't be used.
    """
    try:
        client, experiment_id = connect(tracking)
        query = f"tags.role = 'search' and tags.study = '{study.study_name}'"
        runs = client.search_runs([experiment_id], query, max_results=1)
        tags = {"role": "search", "study": study.study_name, "mlflow.source.name": "pipeline"}
        run = runs[0] if runs else client.create_run(experiment_id, run_name=f"search {study.study_name}", tags=tags)
        run_id, now = run.info.run_id, get_current_time_millis()
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        figures = {
            "trials": len(states),
            "pruned": states.count(TrialState.PRUNED),
            "failed": states.count(TrialState.FAIL),
        }
        if len(objectives) == 1 and TrialState.COMPLETE in states:
            figures[objectives[0]] = study.best_value
        client.log_batch(run_id, metrics=[Metric(f"search/{name}", value, now, 0) for name, value in figures.items()])
        with tempfile.TemporaryDirectory() as folder:
            write_report(study, objectives, Path(folder))
            client.log_artifacts(run_id, folder, "search")
        client.set_terminated(run_id)
    except MlflowException as error:
        raise PipelineError(
            f"tracking: the report of the search could not be logged to {store_uri(tracking)} ({error}); rerun the command"
        ) from error


def write_report(study: optuna.Study, objectives: list[str], out: Path) -> None:
    """Write trials.csv, history.png (if a trial is complete) and importance.png (if enough trials are)."""
    study.trials_dataframe().to_csv(out / "trials.csv", index=False)
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not complete:
        return
    with charting(7, 2.6 * len(objectives)) as figure:
        for row, name in enumerate(objectives):
            axes = figure.add_subplot(len(objectives), 1, row + 1)
            numbers, values = zip(*((trial.number, trial.values[row]) for trial in complete), strict=True)
            axes.plot(numbers, values, "o", label="trials")
            best = accumulate(values, max if OBJECTIVES[name] == "maximize" else min)
            axes.step(numbers, list(best), where="post", label="best so far")
            axes.set(xlabel="trial", ylabel=name, title=study.study_name if not row else "")
            axes.legend()
    write_png(figure, out / "history.png")
    searched = {name for trial in complete for name in trial.params}
    alike = len({tuple(trial.values) for trial in complete}) == 1
    if len(complete) < _LEAST_FOR_IMPORTANCE or alike or len(searched) < 2:
        return
    with charting(7, 1 + 0.4 * len(searched) * len(objectives)) as figure:
        for row, name in enumerate(objectives):
            axes = figure.add_subplot(len(objectives), 1, row + 1)
            importances = get_param_importances(study, target=lambda trial, row=row: trial.values[row])
            axes.barh(list(importances)[::-1], list(importances.values())[::-1])
            axes.set(xlabel=f"fraction of the variation of {name}", xlim=(0, 1))
    write_png(figure, out / "importance.png")
