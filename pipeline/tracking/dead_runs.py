"""Runs whose process died without ending them."""

import logging
from pathlib import Path

import mlflow

from pipeline.system import processes

log = logging.getLogger(__name__)


def mark_dead(client: mlflow.MlflowClient, experiment_id: str, root: Path | None = None) -> None:
    """Mark as KILLED, or as FINISHED where they are complete, the experiments' runs whose process has died.

    A process of this machine has died if it is not there any more. So has one that worked in the job folder `root`,
    which this process has locked. Processes on other machines can't be seen, and their runs are left alone.
    """
    query = "attributes.status = 'RUNNING' and tags.role = 'experiment'"
    for run in client.search_runs([experiment_id], query):
        process = run.data.tags.get(processes.TAG)
        ours = root is not None and run.data.tags.get("folder") == folder_tag(root)
        if process and process != processes.own() and (ours or processes.is_dead(process)):
            client.set_tag(run.info.run_id, "ended_by", f"its process {process} died")
            status = "FINISHED" if run.data.tags.get("complete") == "true" else "KILLED"
            client.set_terminated(run.info.run_id, status)
            log.warning("tracking: the run %s died; it is marked as %s", run.info.run_id, status)


def folder_tag(root: Path) -> str:
    """Value of the tag `folder`: where a job works."""
    return str(root.resolve())
