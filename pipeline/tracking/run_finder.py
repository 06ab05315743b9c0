"""Find the MLflow run to which a stage logs, and mark runs whose process died."""

import logging
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.config import TrackingConfig
from pipeline.system import processes
from pipeline.tracking.metric_names import reported_epochs
from pipeline.tracking.store import connect, mask_secrets
from pipeline.tracking.tags import BEGUN, ENDED_BY, FOLDER, PROCESS, computed_by, internal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageContext:
    """Stage that logs to an experiment's run."""

    key: str
    """Key of the experiment."""
    stage: str
    root: Path
    """Folder that contains the stages' folders."""
    needs: tuple[str, ...]
    """Earlier stages whose outputs the stage reads."""
    resumes: bool
    """Whether the stage was interrupted, and resumes after the last epoch that was logged."""
    computed: bool
    """Whether the result exists, and only has to be logged."""


def find_run(client: mlflow.MlflowClient, experiment_id: str, context: StageContext, known: str | None) -> str | None:
    """Find the run that has the inputs, else the experiment's latest run, to which a stage can log.

    Args:
        client: Client of the store.
        experiment_id: Id of the experiment in MLflow.
        context: Stage that logs.
        known: Id of the run with the experiment's earlier results. Its time may be wrong if the clock was set back.

    Returns:
        Id of the run; None if a new run is needed.
    """
    query = f"tags.role = 'experiment' and tags.experiment_key = '{context.key}'"
    runs = client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"])
    candidates = [*(each for each in runs if each.info.run_id == known), *runs[:1]]
    return next((run.info.run_id for run in candidates if _is_open(client, run, context)), None)


def _is_open(client: mlflow.MlflowClient, run: Run, context: StageContext) -> bool:
    stage, stages = context.stage, computed_by(run.data.tags)
    if context.computed or stage == "report":
        # No results are computed, and new charts show the same results.
        return run.info.status != "RUNNING"
    if "complete" in run.data.tags or stages.get(stage, BEGUN) != BEGUN or run.info.status == "RUNNING":
        return False
    if stage in stages and not context.resumes:
        # A training that starts again may have other results in logged epochs, for example on another device.
        histories = [context.root / name / "history.csv" for name in context.needs]
        known = {epoch for file in histories if file.exists() for epoch in pd.read_csv(file)["epoch"]}
        return reported_epochs(client, run.info.run_id) <= known
    return True


def mark_dead_runs(tracking: TrackingConfig) -> None:
    """Mark the runs whose processes are known to have died, or log a warning if the store is unreachable."""
    try:
        mark_dead(*connect(tracking))
    except MlflowException as error:
        log.warning("tracking: runs whose process died could not be marked: %s", mask_secrets(error))


def mark_dead(client: mlflow.MlflowClient, experiment_id: str, root: Path | None = None) -> None:
    """Mark runs whose process died as KILLED, or as FINISHED if they are complete experiments.

    They are the runs of experiments, sweeps and searches. A process on this machine is dead if it no longer exists. Any
    other process whose run belongs to the job folder `root` is dead too, because this process holds the folder's lock.
    Other runs of processes on other machines are not changed.
    """
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        process, folder = internal(run.data.tags, PROCESS), internal(run.data.tags, FOLDER)
        ours = root is not None and folder == str(root.resolve())
        if process and process != processes.own() and (ours or processes.is_dead(process)):
            client.set_tag(run.info.run_id, ENDED_BY, f"its process {process} died")
            status = "FINISHED" if run.data.tags.get("complete") == "true" else "KILLED"
            client.set_terminated(run.info.run_id, status)
            log.warning("tracking: the process of run %s died; the run is marked as %s", run.info.run_id, status)
