"""Metrics on their way to the store: in order, each once, kept on disk while the store is away."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.storage.files import read_json, write_json
from pipeline.tracking.new_run import RunRecord

log = logging.getLogger(__name__)

# Seconds between two attempts to reach a store that is away.
_RETRY = 2.0


@dataclass
class PendingLog:
    """The part of a run that the store does not have yet; a file in the cache folder, whole at any time."""

    file: Path
    run: RunRecord
    metrics: list[list[tuple[str, float, int, int]]] = field(default_factory=list)
    """One batch per epoch: name, value, milliseconds since 1970, step."""
    stages: list[str] = field(default_factory=list)
    """Folders of stages that have ended."""
    status: str | None = None
    """Status in which the run ended."""

    @classmethod
    def of_run(cls, cache: Path, run: RunRecord) -> "PendingLog":
        """The log of a run, with what an earlier process left in the folder `cache`."""
        file = cache / f"undelivered-{run.id}.json"
        earlier = cls.read(file) if file.exists() else cls(file, run)
        return cls(file, run, earlier.metrics, earlier.stages)

    @classmethod
    def read(cls, file: Path) -> "PendingLog":
        """Read a file that `save` wrote; raises OSError, ValueError, TypeError or KeyError for any other."""
        content = read_json(file)
        batches = [[tuple(metric) for metric in batch] for batch in content["metrics"]]
        return cls(file, RunRecord.from_dict(content["run"]), batches, content["stages"], content["status"])

    def __bool__(self) -> bool:
        return bool(self.metrics or self.stages or self.status)

    def save(self) -> None:
        """Write the file, or remove it when all was delivered."""
        if self:
            content = {"run": asdict(self.run), "metrics": self.metrics, "stages": self.stages, "status": self.status}
            write_json(self.file, content)
        elif self.file.exists():
            # On a read-only file system, removing a missing file fails as well.
            self.file.unlink()


def pending_run_id(cache: Path, experiment_key: str) -> str | None:
    """Id of the run of an experiment that waits in the folder `cache` to be delivered; None: there is none."""
    for file in sorted(cache.glob("undelivered-*.json")):
        try:
            run = PendingLog.read(file).run
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if run.experiment_key == experiment_key:
            return run.id
    return None


class Outbox:
    """Sends metrics in the background, so that no training waits for a store."""

    def __init__(self, pending: PendingLog, send: Callable[[list[Metric]], None]):
        """Start the thread that sends.

        Args:
            pending: what waits, and the file that it is kept in.
            send: raises MlflowException where the store is away.
                The same metrics may then be sent again; MLflow keeps them once.
        """
        self.pending = pending
        self._send = send
        self._changed = threading.Condition()
        self._closed = self._away = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, metrics: list[Metric]) -> None:
        """Send `metrics` after all that waits, as one batch."""
        with self._changed:
            self.pending.metrics.append([(m.key, m.value, m.timestamp, m.step) for m in metrics])
            if self._away:
                self._save()
            self._changed.notify_all()

    def wait_until_delivered(self, seconds: float) -> bool:
        """Wait for the store to have all metrics, for at most `seconds`; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.pending.metrics, seconds)

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
            self.pending.save()
        except OSError as error:
            # The stage's files hold the epochs, too, and these are sent when it ends.
            log.warning("tracking: undelivered metrics are kept in memory only: %s", error)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.pending.metrics)
                if self._closed:
                    return
                batch = self.pending.metrics[0]
            try:
                self._send([Metric(*metric) for metric in batch])
            except MlflowException as error:
                self._wait(error)
                continue
            with self._changed:
                del self.pending.metrics[0]
                if self._away:
                    self._save()
                if self._away and not self.pending.metrics:
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
                    error, self.pending.file,
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
