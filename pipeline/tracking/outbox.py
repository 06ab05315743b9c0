"""Deliver metrics and files to the tracking store in order, and save them on disk while the store is unreachable."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.system import processes
from pipeline.system.errors import PipelineError
from pipeline.tracking.ledger import Ledger, PendingLog
from pipeline.tracking.stage_log import StageLog
from pipeline.tracking.store import connect, mask_secrets

log = logging.getLogger(__name__)

# Seconds between two attempts to reach an unreachable store.
_RETRY = 2.0


class Outbox:
    """Queue of metrics that a background thread sends, so that training never waits for the store."""

    def __init__(self, client: mlflow.MlflowClient, pending: PendingLog):
        """Start the thread that sends the metrics in `pending` to the store of `client`."""
        self._client, self._pending = client, pending
        self._changed = threading.Condition()
        self._closed = self._away = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, metrics: list[Metric]) -> None:
        """Add `metrics` to the end of the queue, as one batch."""
        with self._changed:
            self._pending.metrics.append([(m.key, m.value, m.timestamp, m.step) for m in metrics])
            if self._away:
                self._save()
            self._changed.notify_all()

    def wait_until_delivered(self, seconds: float) -> bool:
        """Wait at most `seconds` until the store has all metrics, and return whether it has them."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending.metrics, seconds)

    def close(self) -> None:
        """Stop sending; metrics that are still in the queue are saved in the file."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            self._save()

    def _save(self) -> None:
        try:
            self._pending.save()
        except OSError as error:
            # No metrics are lost: the stage's files contain them, and are sent when the stage ends.
            log.warning("tracking: pending metrics could not be saved to disk, and stay in memory: %s", error)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._pending.metrics)
                if self._closed:
                    return
                batch = self._pending.metrics[0]
            try:
                # The same metrics may be sent twice; MLflow stores them once.
                self._client.log_batch(self._pending.run.id, metrics=[Metric(*metric) for metric in batch])
            except MlflowException as error:
                self._wait(error)
                continue
            with self._changed:
                del self._pending.metrics[0]
                if self._away:
                    self._save()
                if self._away and not self._pending.metrics:
                    self._away = False
                    log.info("tracking: the store is reachable again, and has all metrics")
                self._changed.notify_all()

    def _wait(self, error: MlflowException) -> None:
        with self._changed:
            if not self._away:
                self._away = True
                self._save()
                log.warning(
                    "tracking: the store is unreachable (%s); work continues, and metrics are saved in %s to be sent later",
                    error, self._pending.file,
                )  # fmt: skip
            self._changed.wait_for(lambda: self._closed, _RETRY)


def retry_until(action: Callable[[], None], seconds: float) -> None:
    """Call `action` repeatedly, for at most `seconds`, until the store accepts it.

    Raises:
        MlflowException: The last attempt failed.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except MlflowException as error:
            if time.monotonic() >= deadline:
                raise
            log.info("tracking: the store is unreachable (%s); trying again", error)
            time.sleep(min(_RETRY, seconds))


def deliver_all(cache: Path) -> list[str]:
    """Deliver the pending data in `undelivered-*.json` of the cache folder: metrics, files, and status of each run.

    Returns:
        One message per run.

    Raises:
        PipelineError: Some runs could not be delivered; all others were delivered.
    """
    done, failed = [], []
    for file in sorted(cache.glob("undelivered-*.json")):
        try:
            with FileLock(f"{file}.lock", timeout=0):
                done.append(_deliver(PendingLog.read(file)))
        except Timeout:
            done.append(f"{file.name}: another command is delivering it")
        except FileNotFoundError as error:
            if not file.exists():
                continue
            failed.append(f"{file.name}: {error.filename} does not exist; run the experiment again, and remove {file}")
        except (MlflowException, PipelineError, OSError, ValueError, TypeError, KeyError) as error:
            failed.append(f"{file.name}: {mask_secrets(error)}")
    if failed:
        raise PipelineError(
            "\n".join([*done, "Not delivered, and still pending:", *(f"  - {each}" for each in failed)])
        )
    return done


def _deliver(pending: PendingLog) -> str:
    run = pending.run
    if processes.is_alive(run.process):
        return f"run {run.id}: not delivered, since its process is still running and delivers it"
    client, _ = connect(run.tracking)
    ledger = Ledger(pending.file.parent, run.experiment_key, run.tracking)
    epochs, stages = len(pending.metrics), len(pending.stages)
    while pending.metrics:
        client.log_batch(run.id, metrics=[Metric(*metric) for metric in pending.metrics[0]])
        del pending.metrics[0]
        pending.save()
    if pending.stages:
        stage_log = StageLog(client, run)
        with mlflow.start_run(run_id=run.id):
            while pending.stages:
                folder = Path(pending.stages[0])
                stage_log.log(folder)
                ledger.add(folder, run.id)
                del pending.stages[0]
                pending.save()
    client.set_terminated(run.id, pending.status or "FINISHED")
    pending.status = None
    pending.save()
    return f"run {run.id}: delivered {epochs} epochs and {stages} stages"
