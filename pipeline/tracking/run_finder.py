"""An experiment's runs in the store: the one that is open to a stage, and those whose process died."""

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

log = logging.getLogger(__name__)

BEGUN = "begun"
"""Value of the tag `<stage>.computed_by` until the stage has ended."""


@dataclass(frozen=True)
class StageContext:
    """The stage that logs into an experiment's run."""

    key: str
    """The experiment's."""
    stage: str
    root: Path
    """Folder of the stages' folders."""
    needs: tuple[str, ...]
    """The earlier stages that it reads from."""
    resumes: bool
    """It was cut off, and resumes after all epochs that were reported."""
    computed: bool
    """Its result exists, and only has to be logged."""


def find_run(client: mlflow.MlflowClient, experiment_id: str, context: StageContext, known: str | None) -> str | None:
    """Find the run that has the inputs, else the experiment's latest one, if it is open to a stage.

    Args:
        client: of the store.
        experiment_id: MLflow's.
        context: the stage.
        known: the run that has the experiment's earlier results: with a clock set back, a later run seems the earlier.

    Returns:
        the run's id; None: a new run is needed.
    """
    query = f"tags.role = 'experiment' and tags.experiment_key = '{context.key}'"
    runs = client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"])
    candidates = [*(each for each in runs if each.info.run_id == known), *runs[:1]]
    return next((run.info.run_id for run in candidates if _is_open(client, run, context)), None)


def _is_open(client: mlflow.MlflowClient, run: Run, context: StageContext) -> bool:
    tags, stage = run.data.tags, context.stage
    if context.computed or stage == "report":
        # Nothing is computed: charts that are drawn again belong to the same numbers.
        return run.info.status != "RUNNING"
    if "complete" in tags or tags.get(f"{stage}.computed_by", BEGUN) != BEGUN or run.info.status == "RUNNING":
        return False
    if f"{stage}.computed_by" in tags and not context.resumes:
        # From the start again, epochs that were reported may come out otherwise, on another device.
        histories = [context.root / name / "history.csv" for name in context.needs]
        known = {epoch for file in histories if file.exists() for epoch in pd.read_csv(file)["epoch"]}
        return reported_epochs(client, run.info.run_id) <= known
    return True


def mark_dead_runs(tracking: TrackingConfig) -> None:
    """Mark the runs whose processes are known to have died; a store that is away is left for another time."""
    try:
        mark_dead(*connect(tracking))
    except MlflowException as error:
        log.warning("tracking: runs that died are not marked: %s", mask_secrets(error))


def mark_dead(client: mlflow.MlflowClient, experiment_id: str, root: Path | None = None) -> None:
    """Mark as KILLED, or as FINISHED where they are complete, the experiments' runs whose process has died.

    A process of this machine has died if it is not there any more. So has one that worked in the job folder `root`,
    which this process has locked. Processes on other machines can't be seen, and their runs are left alone.
    """
    query = "attributes.status = 'RUNNING' and tags.role = 'experiment'"
    for run in client.search_runs([experiment_id], query):
        process = run.data.tags.get(processes.TAG)
        ours = root is not None and run.data.tags.get("folder") == str(root.resolve())
        if process and process != processes.own() and (ours or processes.is_dead(process)):
            client.set_tag(run.info.run_id, "ended_by", f"its process {process} died")
            status = "FINISHED" if run.data.tags.get("complete") == "true" else "KILLED"
            client.set_terminated(run.info.run_id, status)
            log.warning("tracking: the run %s died; it is marked as %s", run.info.run_id, status)
