"""Metrics and files on their way to the store: in order, each once, kept on disk while the store is away."""

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

# Seconds between two attempts to reach a store that is away.
_RETRY = 2.0


class Outbox:
    """Sends metrics in the background, so that no training waits for a store."""

    def __init__(self, client: mlflow.MlflowClient, pending: PendingLog):
        """Start the thread that sends what waits in `pending`, the log of a run that `client` knows."""
        self._client, self._pending = client, pending
        self._changed = threading.Condition()
        self._closed = self._away = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, metrics: list[Metric]) -> None:
        """Send `metrics` after all that waits, as one batch."""
        with self._changed:
            self._pending.metrics.append([(m.key, m.value, m.timestamp, m.step) for m in metrics])
            if self._away:
                self._save()
            self._changed.notify_all()

    def wait_until_delivered(self, seconds: float) -> bool:
        """Wait for the store to have all metrics, for at most `seconds`; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending.metrics, seconds)

    def close(self) -> None:
        """Send nothing further; what waits stays in its file."""
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
            # The stage's files hold the epochs, too, and these are sent when it ends.
            log.warning("tracking: undelivered metrics are kept in memory only: %s", error)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._pending.metrics)
                if self._closed:
                    return
                batch = self._pending.metrics[0]
            try:
                # The same metrics may be sent again; MLflow keeps them once.
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
                    log.info("tracking: the store is back, and has all metrics")
                self._changed.notify_all()

    def _wait(self, error: MlflowException) -> None:
        with self._changed:
            if not self._away:
                self._away = True
                self._save()
                log.warning(
                    "tracking: the store is away (%s); work continues, metrics are kept in %s and sent when it is back",
                    error, self._pending.file,
                )  # fmt: skip
            self._changed.wait_for(lambda: self._closed, _RETRY)


def retry_until(action: Callable[[], None], seconds: float) -> None:
    """Call `action` until the store accepts it, for at most `seconds`.

    Raises:
        MlflowException: it did not.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except MlflowException as error:
            if time.monotonic() >= deadline:
                raise
            log.info("tracking: the store is away (%s); waiting for it", error)
            time.sleep(min(_RETRY, seconds))


def deliver_all(cache: Path) -> list[str]:
    """Deliver what `undelivered-*.json` in the cache folder name: metrics, stages' files, how each run ended.

    Nothing is sent twice.

    Returns:
        one sentence per run.

    Raises:
        PipelineError: the store is away, or some run could not be delivered; the others were.
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
            failed.append(f"{file.name}: {error.filename} is gone; run its experiment again, and remove {file}")
        except (MlflowException, PipelineError, OSError, ValueError, TypeError, KeyError) as error:
            failed.append(f"{file.name}: {mask_secrets(error)}")
    if failed:
        raise PipelineError("\n".join([*done, "Not delivered, and still here:", *(f"  - {each}" for each in failed)]))
    return done


def _deliver(pending: PendingLog) -> str:
    run = pending.run
    if processes.is_alive(run.process):
        return f"run {run.id}: its own process is at work, and delivers it"
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
