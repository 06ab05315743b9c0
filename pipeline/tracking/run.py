"""MLflow run of an experiment, found or created by the experiment's key, to which the stages log one after another."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from requests import RequestException

from pipeline.config import Config
from pipeline.system import processes
from pipeline.system.errors import DivergedError
from pipeline.system.paths import lasting, resolve
from pipeline.system.processes import defer_interrupts, interrupted
from pipeline.tracking.ledger import PendingLog, ledger_of, pending_run_id
from pipeline.tracking.metric_names import epoch_metrics, reported_epochs
from pipeline.tracking.new_run import RunRecord, create_run
from pipeline.tracking.origin import RunOrigin
from pipeline.tracking.outbox import Outbox, retry_until
from pipeline.tracking.run_finder import StageContext, find_run, mark_dead
from pipeline.tracking.stage_log import StageLog
from pipeline.tracking.store import connect, mask_secrets, store_uri, ui_address, unusable
from pipeline.tracking.tags import BEGUN, FOLDER, PROCESS, computed_by, with_stage

log = logging.getLogger(__name__)
# MLflow would log two uninformative lines at the start and end of every stage.
logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
# urllib3 would log each attempt to reach a server; `pipeline.tracking.outbox` logs once that it is unreachable.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

# Seconds that a run waits at its end for the delivery of its last metrics, before these are saved on disk.
_LAST_WAIT = 5.0


class ExperimentRun:
    """MLflow run of an experiment, open for one stage."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str, key: str, config: Config):
        """Open a run for logging; `key` is the key of the experiment."""
        run = RunRecord.of(run_id, key, config)
        self.run_id = run_id
        self._client, self._tracking = client, config.tracking
        self._stage_log = StageLog(client, run)
        self._pending = PendingLog.of_run(resolve(config.cache_folder), run)
        self._outbox = Outbox(client, self._pending)
        self._reported = {metric[3] for batch in self._pending.metrics for metric in batch}
        self._ledger = ledger_of(key, config)

    def log_missing_inputs(self, root: Path, needs: tuple[str, ...]) -> None:
        """Log inputs that are not in the run, since another run computed them or the store was unreachable."""
        try:
            stages = computed_by(self._client.get_run(self.run_id).data.tags)
            missing = [name for name in needs if stages.get(name, BEGUN) == BEGUN]
        except MlflowException:
            missing = [name for name in needs if not self.has(root / name)]
        for name in missing:
            self.log_stage(root / name)

    def report_epoch(self, row: dict[str, float]) -> None:
        """Log the metrics of an epoch (see `pipeline.training.Row`) in the background, unless this was done before."""
        if row["epoch"] not in self._reported:
            self._reported.add(int(row["epoch"]))
            self._outbox.put(epoch_metrics(row))

    def log_stage(self, folder: Path) -> bool:
        """Log the files in a stage's folder.

        It waits up to `tracking.wait_seconds` for an unreachable store. After that, `python -m pipeline.sync` can log
        the files.

        Returns:
            True if the store has the files.
        """
        seconds, waiting = self._tracking.wait_seconds, self._pending.stages
        place = str(folder.resolve())
        try:
            others_wait = any(other != place for other in waiting)
            if others_wait or not self._outbox.wait_until_delivered(seconds):
                raise MlflowException("earlier metrics or stages are not delivered yet")
            retry_until(lambda: self._log(folder), seconds)
        except MlflowException as error:
            reason = mask_secrets(error)
            log.warning(
                "tracking: the results of %s could not be logged (%s); the files in %s are complete",
                folder.name,
                reason,
                folder,
            )
            if place not in waiting:
                waiting.append(place)
                self._pending.save()
            return False
        if place in waiting:
            waiting.remove(place)
        self._ledger.add(folder, self.run_id)
        return True

    def has(self, folder: Path) -> bool:
        """Return whether the result in a stage's folder is logged to this run."""
        return self._ledger.run_id == self.run_id and self._ledger.has(folder)

    def begin(self, context: StageContext) -> None:
        """Mark the run as running, with tags for this process and the stage.

        Raises:
            MlflowException: The store is unreachable.
        """
        # Epochs that the store has are not sent again.
        self._reported |= reported_epochs(self._client, self.run_id)
        before = self._client.get_run(self.run_id).data.tags
        tags = {PROCESS: processes.own()} | _dvc_experiments(before)
        folder = context.root.resolve()
        if folder == lasting(folder):
            # DVC deletes the folder of a queued experiment. Its name in DVC stays.
            tags[FOLDER] = str(folder)
        if not context.computed:
            tags |= with_stage(before, context.stage, BEGUN)
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        interval = self._tracking.system_metrics_interval
        mlflow.set_system_metrics_sampling_interval(interval)
        mlflow.start_run(run_id=self.run_id, log_system_metrics=interval is not None)

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag, if the store is reachable."""
        try:
            self._client.set_tag(self.run_id, name, value)
        except MlflowException as error:
            log.warning("tracking: the tag %s could not be set: %s", name, mask_secrets(error))

    def origin(self) -> RunOrigin:
        """Return the name, the page and the code of the run, as far as the store tells them."""
        try:
            run = self._client.get_run(self.run_id)
        except MlflowException:
            return RunOrigin(self.run_id)
        page = f"{ui_address(self._tracking)}/#/experiments/{run.info.experiment_id}/runs/{self.run_id}"
        tags = run.data.tags
        return RunOrigin(
            self.run_id, run.info.run_name or "", page, tags.get("git_commit", ""), tags.get("mlflow.user", "")
        )

    def end(self, status: str) -> None:
        """End the run in MLflow as FINISHED, FAILED or KILLED, or save this status if the store is unreachable."""
        self._outbox.wait_until_delivered(_LAST_WAIT)
        try:
            with defer_interrupts():
                if mlflow.active_run() is None:
                    self._client.set_terminated(self.run_id, status)
                else:
                    mlflow.end_run(status)
        except MlflowException as error:
            log.warning("tracking: the run could not be marked as %s: %s", status, mask_secrets(error))
            self._pending.status = status
        self._outbox.close()

    def _log(self, folder: Path) -> None:
        # Some functions of MLflow only log to the active run.
        if mlflow.active_run() is None:
            mlflow.start_run(run_id=self.run_id)
        try:
            self._stage_log.log(folder)
        except RequestException as error:
            # MLflow does not convert the errors of a proxy whose server is unreachable.
            raise MlflowException(str(error)) from error


def _dvc_experiments(tags: Mapping[str, str]) -> dict[str, str]:
    """Return a tag with the names of the DVC experiments that a run belongs to, this process's one included."""
    if not (name := os.environ.get("DVC_EXP_NAME")):
        return {}
    return {"dvc_experiment": " ".join(dict.fromkeys([*tags.get("dvc_experiment", "").split(), name]))}


@contextmanager
def open_run(context: StageContext, config: Config) -> Iterator[ExperimentRun]:
    """Open the run of an experiment while a stage runs, and log inputs that other runs computed.

    The run is the one that has the inputs, or the experiment's latest run. If it is complete, or already has this
    stage, a new run is created. After the first stage of an experiment, an unreachable server is not an error. The run
    ends as FINISHED, as FAILED after an error, or as KILLED after an interruption.

    Raises:
        PipelineError: The tracking store can't be used.
    """
    run = _open(context, config)
    status = "FINISHED"
    try:
        run.log_missing_inputs(context.root, context.needs)
        yield run
    except BaseException as error:
        killed = interrupted() or isinstance(error, KeyboardInterrupt)
        status = "KILLED" if killed else getattr(error, "run_status", "FAILED")
        if isinstance(error, DivergedError):
            run.set_tag("diverged", str(error))
        raise
    finally:
        run.end(status)


def _open(context: StageContext, config: Config) -> ExperimentRun:
    known = ledger_of(context.key, config).run_id
    try:
        client, experiment_id = connect(config.tracking)
        mark_dead(client, experiment_id, context.root)
        run_id = find_run(client, experiment_id, context, known)
        run_id = run_id or create_run(client, experiment_id, context.key, config)
        run = ExperimentRun(client, run_id, context.key, config)
        run.begin(context)
        return run
    except MlflowException as error:
        known = known or pending_run_id(resolve(config.cache_folder), context.key)
        if not (known and store_uri(config.tracking).startswith("http")):
            raise unusable(config.tracking, error) from error
        log.warning(
            "tracking: the server is unreachable (%s); %s continues without it", mask_secrets(error), context.stage
        )
        return ExperimentRun(mlflow.MlflowClient(store_uri(config.tracking)), known, context.key, config)
