"""The MLflow run of an experiment: found or made by its key; the stages log into it in turn."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Metric, Run, RunTag
from mlflow.exceptions import MlflowException
from requests import RequestException

from pipeline.config import Config, TrackingConfig
from pipeline.storage.files import read_json
from pipeline.system import processes
from pipeline.system.errors import DivergedError, PipelineError
from pipeline.system.paths import resolve
from pipeline.system.signals import defer_interrupts, interrupted
from pipeline.tracking.metric_names import epoch_metrics
from pipeline.tracking.new_run import create_run
from pipeline.tracking.outbox import Outbox, PendingLog, retry_until
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


class ExperimentRun:
    """The MLflow run of one experiment, as one stage sees it."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str, config: Config):
        self.run_id = run_id
        self._client, self._tracking = client, config.tracking
        self.stages = StageLog(client, run_id, config.dataset.name, config.tracking.log_model)
        run = {"id": run_id, "dataset": config.dataset.name, "tracking": asdict(config.tracking)}
        self._undelivered = PendingLog.of_run(resolve(config.cache_folder), run | {"process": processes.own()})
        self._undelivered.status = None
        self._outbox = Outbox(self._undelivered, self._send)
        self._reported = {metric[3] for batch in self._undelivered.metrics for metric in batch}

    def learn(self, reported: set[int]) -> None:
        """Take note of epochs that the store has."""
        self._reported |= reported

    def log_missing_inputs(self, root: Path, inputs: tuple[str, ...]) -> None:
        """Log the inputs that the run lacks: other runs computed them, or the store was away."""
        try:
            tags = self._client.get_run(self.run_id).data.tags
            missing = [name for name in inputs if tags.get(f"{name}.computed_by", _BEGUN) == _BEGUN]
        except MlflowException:
            told = {name: read_json(root / name / "run.json") for name in inputs}
            missing = [
                name for name in inputs if told[name]["run_id"] != self.run_id or not told[name].get("logged", True)
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
        waits, waiting = self._tracking.wait_seconds, self._undelivered.stages
        place = str(folder.resolve())
        try:
            if [other for other in waiting if other != place] or not self._outbox.delivered(waits):
                raise MlflowException("what came before is waiting too")
            retry_until(lambda: self._log(folder), waits)
        except MlflowException as error:
            log.warning("tracking: %s is not in the store (%s), but whole in %s", folder.name, masked(error), folder)
            if place not in waiting:
                waiting.append(place)
                self._undelivered.keep()
            return False
        if place in waiting:
            waiting.remove(place)
        return True

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
            log.warning("tracking: that the run is %s could not be told to the store: %s", status, masked(error))
            self._undelivered.status = status
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


@contextmanager
def open_run(
    config: Config, key: str, stage: str, root: Path, inputs: tuple[str, ...], resumes: bool = False
) -> Iterator[ExperimentRun]:
    """The experiment's run, open while a stage works; what other runs computed of its `inputs` is filled in from their files.

    The run is the one that holds the inputs, or the experiment's latest one, unless that is complete, or has had this stage before: a forced repeat is a new run. A stage that
    was cut off goes on in its run if it `resumes` after all epochs that were reported. A server that goes away after the experiment's first stage
    ends nothing. The run ends as FINISHED, FAILED, or KILLED where it was interrupted.

    Raises:
        PipelineError: the tracking store can't be used.
    """
    try:
        client, experiment_id = connect(config.tracking)
        mark_dead_runs(client, experiment_id, root)
        run_id = _find(client, experiment_id, key, stage, root, inputs, resumes)
        run = ExperimentRun(client, run_id or create_run(client, experiment_id, key, config), config)
        run.learn(run.stages.reported_epochs())
        _begin(client, run.run_id, stage, root, config.tracking)
    except MlflowException as error:
        known = _known_run(root, (*inputs, stage), key)
        if not (known and store_uri(config.tracking).startswith("http")):
            raise PipelineError(
                f"tracking: the store {masked(store_uri(config.tracking))} can't be used: {masked(error)}"
            ) from error
        log.warning("tracking: the server is away (%s); %s goes on without it", masked(error), stage)
        run = ExperimentRun(mlflow.MlflowClient(store_uri(config.tracking)), known, config)
    status = "FINISHED"
    try:
        run.log_missing_inputs(root, inputs)
        yield run
    except BaseException as error:
        killed = interrupted() or isinstance(error, KeyboardInterrupt)
        status = "KILLED" if killed else getattr(error, "run_status", "FAILED")
        if isinstance(error, DivergedError):
            run.mark("diverged", str(error))
        raise
    finally:
        run.end(status)


def mark_dead_runs(client: mlflow.MlflowClient, experiment_id: str, root: Path | None = None) -> None:
    """Mark as KILLED, or as FINISHED where they are complete, the experiments' runs whose process ended without a word.

    A process is known to have ended if it was one of this machine and is no more, or if it worked in the job folder `root`, which is locked by
    whoever works in it, and which is ours. Of other processes on other machines nothing is known, and nothing said.
    """
    query = "attributes.status = 'RUNNING' and tags.role = 'experiment'"
    for run in client.search_runs([experiment_id], query):
        process = run.data.tags.get(processes.TAG)
        ours = root is not None and run.data.tags.get("folder") == _told(root)
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


def _begin(client: mlflow.MlflowClient, run_id: str, stage: str, root: Path, tracking: TrackingConfig) -> None:
    tags = {f"{stage}.computed_by": _BEGUN, processes.TAG: processes.own(), "folder": _told(root)}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    interval = tracking.system_metrics_interval
    mlflow.set_system_metrics_sampling_interval(interval)
    mlflow.start_run(run_id=run_id, log_system_metrics=interval is not None)


def _end(client: mlflow.MlflowClient, run_id: str, status: str) -> None:
    if mlflow.active_run() is None:
        client.set_terminated(run_id, status)
    else:
        mlflow.end_run(status)


def _find(
    client: mlflow.MlflowClient,
    experiment_id: str,
    key: str,
    stage: str,
    root: Path,
    inputs: tuple[str, ...],
    resumes: bool,
) -> str | None:
    """The experiment's run that the inputs were logged to, else its latest one, if this stage may log into it."""
    query = f"tags.role = 'experiment' and tags.experiment_key = '{key}'"
    found = client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"])
    # The one that the inputs name: of two runs, a clock that was set back makes the later one seem the earlier.
    named = _known_run(root, inputs, key)
    for run in [*(each for each in found if each.info.run_id == named), *found[:1]]:
        if _takes(client, run, key, stage, root, inputs, resumes):
            return run.info.run_id
    return None


def _takes(
    client: mlflow.MlflowClient, run: Run, key: str, stage: str, root: Path, inputs: tuple[str, ...], resumes: bool
) -> bool:
    """Whether a run of the experiment is open to this stage."""
    run_id, tags = run.info.run_id, run.data.tags
    if _known_run(root, (stage,), key, logged=False) == run_id:
        # All that was left to do is to log it.
        return True
    if "complete" in tags or tags.get(f"{stage}.computed_by", _BEGUN) != _BEGUN or run.info.status == "RUNNING":
        return False
    if f"{stage}.computed_by" in tags and not resumes:
        # Begun anew, epochs that were reported may come out otherwise, on another device.
        known = {epoch for name in inputs for epoch in _epochs(root / name / "history.csv")}
        reported = {metric.step for metric in client.get_metric_history(run_id, "training/loss")}
        return not reported - known
    return True


def _epochs(history: Path) -> list[int]:
    return pd.read_csv(history)["epoch"].tolist() if history.exists() else []


def _told(root: Path) -> str:
    return str(root.resolve())


def _known_run(root: Path, stages: tuple[str, ...], key: str, logged: bool = True) -> str | None:
    """The experiment's run, as the latest of these stages' files names it; with `logged` false only of one that was not logged yet."""
    for name in reversed(stages):
        file = root / name / "run.json"
        told = read_json(file) if file.exists() else {}
        if told.get("experiment_key") == key and (logged or not told["logged"]):
            return told["run_id"]
    return None
