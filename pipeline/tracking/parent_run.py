"""MLflow run of a sweep or a search, in which the runs of its jobs are nested.

It is not an experiment, since its tag `role` is `sweep` or `search`. An unreachable store ends no sweep; its jobs are
logged without a parent then.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from requests import RequestException

from pipeline.config import TrackingConfig
from pipeline.system import processes
from pipeline.system.errors import PipelineError
from pipeline.tracking.metric_names import metrics_of_now
from pipeline.tracking.store import connect, mask_secrets, store_lock
from pipeline.tracking.tags import PROCESS

log = logging.getLogger(__name__)

_AWAY = (MlflowException, PipelineError, RequestException, OSError)


def parent_tag() -> dict[str, str]:
    """Return the tag that nests the run of this job in the run of its sweep; none outside of a sweep."""
    parent = os.environ.get(processes.PARENT)
    return {MLFLOW_PARENT_RUN_ID: parent} if parent else {}


class ParentRun:
    """Run of a sweep or a search, which the same command continues."""

    def __init__(self, tracking: TrackingConfig, name: str, *, identity: tuple[str, str], tags: Mapping[str, str]):
        """Find the run or create it, and mark it as running.

        Args:
            tracking: Settings of the store.
            name: Name of the run.
            identity: Tag that no other sweep has, by name and value.
            tags: Other tags, `role` among them.
        """
        self.id: str | None = None
        self.tracking = tracking
        try:
            self._client, self._experiment_id = connect(tracking)
            # Two commands with the same sweep share its run.
            with store_lock(tracking):
                self.id = self._open(name, identity, {**tags, identity[0]: identity[1], PROCESS: processes.own()})
        except _AWAY as error:
            self._warn("could not be opened", error)

    def _open(self, name: str, identity: tuple[str, str], tags: Mapping[str, str]) -> str:
        query = f"tags.role = '{tags['role']}' and tags.`{identity[0]}` = '{identity[1]}'"
        found = self._client.search_runs([self._experiment_id], query, order_by=["attributes.start_time ASC"])
        if not found:
            return self._client.create_run(self._experiment_id, run_name=name, tags=dict(tags)).info.run_id
        run_id = found[0].info.run_id
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self._client.update_run(run_id, "RUNNING")
        return run_id

    def address(self, run_id: str | None = None, path: str = "") -> str:
        """Return the address of a run, or of one of its artifacts, within MLflow's user interface."""
        place = f"#/experiments/{self._experiment_id}/runs/{run_id or self.id}"
        return f"{place}/artifacts/{path}" if path else place

    def adopt(self, runs: Sequence[Run]) -> None:
        """Nest runs that have no parent: those of jobs that were complete before, or that began without the store."""
        for run in runs:
            if self.id and MLFLOW_PARENT_RUN_ID not in run.data.tags:
                self._client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, self.id)

    def log(self, folder: Path, place: str, *, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log the files in a folder as artifacts below `place`, with metrics and tags.

        Raises:
            MlflowException: The store is unreachable.
        """
        if self.id:
            self._client.log_artifacts(self.id, str(folder), place)
            found = [RunTag(name, value) for name, value in tags.items()]
            self._client.log_batch(self.id, metrics=metrics_of_now(metrics), tags=found)

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        if not self.id:
            return
        try:
            with processes.defer_interrupts():
                self._client.set_terminated(self.id, status)
        except _AWAY as error:
            self._warn(f"could not be marked as {status}", error)

    def _warn(self, what: str, error: Exception) -> None:
        log.warning("tracking: the run of the sweep %s: %s", what, mask_secrets(error))
