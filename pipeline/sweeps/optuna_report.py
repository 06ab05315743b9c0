"""Report of an Optuna search as an MLflow run, with a table of all trials and charts."""

import logging
import tempfile
from itertools import accumulate
from pathlib import Path

import optuna
from mlflow.exceptions import MlflowException
from optuna.importance import get_param_importances
from optuna.trial import TrialState

from pipeline.jobs.job import OBJECTIVES
from pipeline.tracking.parent_run import ParentRun
from pipeline.tracking.store import mask_secrets
from pipeline.visuals.style import charting, write_png

log = logging.getLogger(__name__)

_LEAST_FOR_IMPORTANCE = 4


def log_search(study: optuna.Study, objectives: list[str], parent: ParentRun) -> None:
    """Log a study to its MLflow run, which is shared by all commands that continue the study.

    An unreachable store is not an error; then the same command logs it later.
    """
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    figures: dict[str, float] = {
        "trials": len(states),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
    }
    if len(objectives) == 1 and TrialState.COMPLETE in states:
        figures[objectives[0]] = study.best_value
    with tempfile.TemporaryDirectory() as folder:
        write_report(study, objectives, Path(folder))
        try:
            metrics = {f"search/{name}": value for name, value in figures.items()}
            parent.log(Path(folder), "search", metrics=metrics, tags={})
        except MlflowException as error:
            log.warning("tracking: the report of the search could not be logged: %s", mask_secrets(error))


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
