"""The MLflow run of an experiment: found or made by its key; the stages log into it in turn."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Metric, Run, RunTag
from mlflow.exceptions import MlflowException
from requests import RequestException

from pipeline.config import Config, TrackingConfig
from pipeline.system import processes
from pipeline.system.errors import DivergedError, PipelineError
from pipeline.system.paths import resolve
from pipeline.system.signals import defer_interrupts, interrupted
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.metric_names import epoch_metrics
from pipeline.tracking.new_run import create_run
from pipeline.tracking.outbox import Outbox, PendingLog, pending_run, retry_until
from pipeline.tracking.stage_log import StageLog
from pipeline.tracking.store import connect, masked, store_uri

log = logging.getLogger(__name__)
# Two lines at the start and end of every stage that say nothing.
logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
# And one for each attempt to reach a server that is away, which `tracking.spool` says once.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

# What the tag `<stage>.computed_by` says until the stage has ended.
_BEGUN = "begun"
# Seconds that an ending stage waits for its last metrics to be taken, before they are left on disk.
_AT_THE_END = 5.0


@dataclass(frozen=True)
class StageContext:
    """The stage that wants to log into an experiment's run."""

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
    """Its result is there, and only has to be logged."""


class ExperimentRun:
    """The MLflow run of one experiment, as one stage sees it."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str, key: str, config: Config):
        self.run_id = run_id
        self._client, self._tracking = client, config.tracking
        self.stages = StageLog(client, run_id, config.dataset.name, config.tracking.log_model)
        run = {"id": run_id, "dataset": config.dataset.name, "tracking": asdict(config.tracking), "experiment_key": key}
        self._pending = PendingLog.of_run(resolve(config.cache_folder), run | {"process": processes.own()})
        self._pending.status = None
        self._outbox = Outbox(self._pending, self._send)
        self._reported = {metric[3] for batch in self._pending.metrics for metric in batch}
        self._ledger = ledger_of(key, config)

    def mark_reported(self, epochs: set[int]) -> None:
        """Note epochs that the store has. Epochs are sent once at most: their numbers decide."""
        self._reported |= epochs

    def log_missing_inputs(self, root: Path, needs: tuple[str, ...]) -> None:
        """Log the inputs that the run lacks: other runs computed them, or the store was away."""
        try:
            tags = self._client.get_run(self.run_id).data.tags
            missing = [name for name in needs if tags.get(f"{name}.computed_by", _BEGUN) == _BEGUN]
        except MlflowException:
            missing = [
                name for name in needs if self._ledger.run_id != self.run_id or not self._ledger.has(root / name)
            ]
        for name in missing:
            self.log_stage(root / name)

    def report_epoch(self, row: dict[str, float]) -> None:
        """Log an epoch's figures, in the background; see `pipeline.training.history.Row`. An epoch that was reported is not reported again."""
        if row["epoch"] not in self._reported:
            self._reported.add(row["epoch"])
            self._outbox.put(epoch_metrics(row))

    def log_stage(self, folder: Path) -> bool:
        """Log the files that a stage has left in `folder`; whether the store has them.

        A store that is away is waited for `tracking.wait_seconds`; what it does not take by then is written down for `python -m pipeline.sync`.
        """
        seconds, waiting = self._tracking.wait_seconds, self._pending.stages
        place = str(folder.resolve())
        try:
            if [other for other in waiting if other != place] or not self._outbox.delivered(seconds):
                raise MlflowException("earlier metrics or stages are still waiting")
            retry_until(lambda: self._log(folder), seconds)
        except MlflowException as error:
            log.warning(
                "tracking: %s is not in the store (%s); its files are complete in %s",
                folder.name,
                masked(error),
                folder,
            )
            if place not in waiting:
                waiting.append(place)
                self._pending.keep()
            return False
        if place in waiting:
            waiting.remove(place)
        self._ledger.add(folder, self.run_id)
        return True

    def has(self, folder: Path) -> bool:
        """Whether the store has the result in a stage's folder."""
        return self._ledger.run_id == self.run_id and self._ledger.has(folder)

    def mark(self, tag: str, value: str) -> None:
        """Set a tag, if the store is there."""
        try:
            self._client.set_tag(self.run_id, tag, value)
        except MlflowException as error:
            log.warning("tracking: the tag %s could not be set: %s", tag, masked(error))

    def end(self, status: str) -> None:
        """End the run in MLflow as FINISHED, FAILED or KILLED, or write down that it has."""
        self._outbox.delivered(_AT_THE_END)
        try:
            with defer_interrupts():
                _end(self._client, self.run_id, status)
        except MlflowException as error:
            log.warning("tracking: the store could not be told that the run is %s: %s", status, masked(error))
            self._pending.status = status
        self._outbox.close()

    def _send(self, metrics: list[Metric]) -> None:
        self._client.log_batch(self.run_id, metrics=metrics)

    def _log(self, folder: Path) -> None:
        # Some of MLflow's functions log to the active run alone.
        if mlflow.active_run() is None:
            mlflow.start_run(run_id=self.run_id)
        try:
            self.stages.log(folder)
        except RequestException as error:
            # What MLflow lets through of a proxy whose server is away.
            raise MlflowException(str(error)) from error


def ledger_of(key: str, config: Config) -> Ledger:
    """What the configured store has of the experiment with this key."""
    return Ledger(resolve(config.cache_folder), key, masked(store_uri(config.tracking)))


@contextmanager
def open_run(context: StageContext, config: Config) -> Iterator[ExperimentRun]:
    """The experiment's run, open while a stage works; inputs that other runs computed are logged from their files.

    The run is the one that holds the inputs, or the experiment's latest one, unless that is complete, or has had this stage before: a forced
    repeat is a new run. A server that goes away after the experiment's first stage ends nothing. The run ends as FINISHED, FAILED, or KILLED
    where it was interrupted.

    Raises:
        PipelineError: the tracking store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        mark_dead_runs(client, experiment_id, context.root)
        known = ledger_of(context.key, config).run_id
        run_id = RunFinder(client, experiment_id, known).find(context)
        run_id = run_id or create_run(client, experiment_id, context.key, config)
        run = ExperimentRun(client, run_id, context.key, config)
        run.mark_reported(run.stages.reported_epochs())
        _begin(client, run_id, context, config.tracking)
    except MlflowException as error:
        known = ledger_of(context.key, config).run_id or pending_run(resolve(config.cache_folder), context.key)
        if not (known and store_uri(config.tracking).startswith("http")):
            raise PipelineError(
                f"tracking: the store {masked(store_uri(config.tracking))} can't be used: {masked(error)}"
            ) from error
        log.warning("tracking: the server is away (%s); %s continues without it", masked(error), context.stage)
        run = ExperimentRun(mlflow.MlflowClient(store_uri(config.tracking)), known, context.key, config)
    status = "FINISHED"
    try:
        run.log_missing_inputs(context.root, context.needs)
        yield run
    except BaseException as error:
        killed = interrupted() or isinstance(error, KeyboardInterrupt)
        status = "KILLED" if killed else getattr(error, "run_status", "FAILED")
        if isinstance(error, DivergedError):
            run.mark("diverged", str(error))
        raise
    finally:
        run.end(status)


@dataclass(frozen=True)
class RunFinder:
    """Finds the run that a stage may log into."""

    client: mlflow.MlflowClient
    experiment_id: str
    """MLflow's."""
    known: str | None
    """The run that has the experiment's earlier results: a clock that was set back makes a later run seem the earlier."""

    def find(self, context: StageContext) -> str | None:
        """The run that the inputs were logged to, else the experiment's latest one, if it is open to this stage; None: a new one is needed."""
        query = f"tags.role = 'experiment' and tags.experiment_key = '{context.key}'"
        found = self.client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"])
        for run in [*(each for each in found if each.info.run_id == self.known), *found[:1]]:
            if self._is_open(run, context):
                return run.info.run_id
        return None

    def _is_open(self, run: Run, context: StageContext) -> bool:
        run_id, tags, stage = run.info.run_id, run.data.tags, context.stage
        if context.computed or stage == "report":
            # Nothing is computed anew; pictures that are drawn again belong to the same numbers.
            return run.info.status != "RUNNING"
        if "complete" in tags or tags.get(f"{stage}.computed_by", _BEGUN) != _BEGUN or run.info.status == "RUNNING":
            return False
        if f"{stage}.computed_by" in tags and not context.resumes:
            # Begun anew, epochs that were reported may come out otherwise, on another device.
            known = {epoch for name in context.needs for epoch in _epochs(context.root / name / "history.csv")}
            reported = {metric.step for metric in self.client.get_metric_history(run_id, "training/loss")}
            return not reported - known
        return True


def mark_dead_runs(client: mlflow.MlflowClient, experiment_id: str, root: Path | None = None) -> None:
    """Mark as KILLED, or as FINISHED where they are complete, the experiments' runs whose process ended without a word.

    A process is known to have ended if it was one of this machine and is no more, or if it worked in the job folder `root`, which is locked by
    whoever works in it, and which is ours. Of other processes on other machines nothing is known, and nothing said.
    """
    query = "attributes.status = 'RUNNING' and tags.role = 'experiment'"
    for run in client.search_runs([experiment_id], query):
        process = run.data.tags.get(processes.TAG)
        ours = root is not None and run.data.tags.get("folder") == _folder_tag(root)
        if process and process != processes.own() and (ours or processes.is_dead(process)):
            client.set_tag(run.info.run_id, "ended_by", f"its process {process} ended without a word")
            status = "FINISHED" if run.data.tags.get("complete") == "true" else "KILLED"
            client.set_terminated(run.info.run_id, status)
            log.warning("tracking: the run %s died; it is marked as %s", run.info.run_id, status)


def mark_dead(tracking: TrackingConfig) -> None:
    """As `mark_dead_runs`, by what can be seen of processes alone; a store that is away is for another time."""
    try:
        mark_dead_runs(*connect(tracking))
    except MlflowException as error:
        log.warning("tracking: runs that died are not marked: %s", masked(error))


def _begin(client: mlflow.MlflowClient, run_id: str, context: StageContext, tracking: TrackingConfig) -> None:
    tags = {processes.TAG: processes.own(), "folder": _folder_tag(context.root)}
    if not context.computed:
        tags[f"{context.stage}.computed_by"] = _BEGUN
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    interval = tracking.system_metrics_interval
    mlflow.set_system_metrics_sampling_interval(interval)
    mlflow.start_run(run_id=run_id, log_system_metrics=interval is not None)


def _end(client: mlflow.MlflowClient, run_id: str, status: str) -> None:
    if mlflow.active_run() is None:
        client.set_terminated(run_id, status)
    else:
        mlflow.end_run(status)


def _epochs(history: Path) -> list[int]:
    return pd.read_csv(history)["epoch"].tolist() if history.exists() else []


def _folder_tag(root: Path) -> str:
    return str(root.resolve())
