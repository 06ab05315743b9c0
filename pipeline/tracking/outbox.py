"""Metrics on their way to the store: in order, each once, kept on disk while the store is away."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.storage.files import read_json, write_json

log = logging.getLogger(__name__)

# Seconds between two attempts to reach a store that is away.
_RETRY = 2.0


@dataclass
class PendingLog:
    """What the store does not have yet of a run; a file in the cache folder, whole at any time."""

    file: Path
    run: dict[str, Any]
    """What delivering takes: `id`, `experiment_key`, `tracking` and `dataset` of the configuration, never a secret."""
    metrics: list[list[tuple[str, float, int, int]]] = field(default_factory=list)
    """A batch an epoch: name, value, milliseconds since 1970, step."""
    stages: list[str] = field(default_factory=list)
    """Folders of stages that have ended."""
    status: str | None = None
    """How the run ended."""

    @classmethod
    def of_run(cls, folder: Path, run: dict[str, Any]) -> "PendingLog":
        """That of a run, with what an earlier process left; `folder` is the cache's."""
        file = folder / f"undelivered-{run['id']}.json"
        return cls.read(file) if file.exists() else cls(file, run)

    @classmethod
    def read(cls, file: Path) -> "PendingLog":
        """Raises OSError, ValueError or TypeError where the file is not one of these."""
        kept = read_json(file)
        batches = [[tuple(metric) for metric in batch] for batch in kept.pop("metrics")]
        return cls(file, metrics=batches, **kept)

    def __bool__(self) -> bool:
        return bool(self.metrics or self.stages or self.status)

    def keep(self) -> None:
        """Write the file, or remove it when all was delivered."""
        if self:
            write_json(self.file, {name: value for name, value in vars(self).items() if name != "file"})
        elif self.file.exists():
            # Where nothing may be written, removing what is not there fails as well.
            self.file.unlink()


def pending_run(folder: Path, experiment_key: str) -> str | None:
    """The run of an experiment that waits in the cache folder `folder` to be delivered; None where there is none."""
    for file in sorted(folder.glob("undelivered-*.json")):
        try:
            run = PendingLog.read(file).run
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if run.get("experiment_key") == experiment_key:
            return run["id"]
    return None


class Outbox:
    """Sends metrics in the background, so that no training waits for a store."""

    def __init__(self, undelivered: PendingLog, send: Callable[[list[Metric]], None]):
        """`send` raises MlflowException where the store is away; the same metrics may then be sent again, and MLflow keeps them once."""
        self.undelivered = undelivered
        self._send = send
        self._changed = threading.Condition()
        self._closed = self._away = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, metrics: list[Metric]) -> None:
        """Send `metrics` after all that waits, as one batch."""
        with self._changed:
            self.undelivered.metrics.append([(m.key, m.value, m.timestamp, m.step) for m in metrics])
            if self._away:
                self._keep()
            self._changed.notify_all()

    def delivered(self, seconds: float) -> bool:
        """Wait until the store has all metrics, or so long; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.undelivered.metrics, seconds)

    def close(self) -> None:
        """Send nothing further; what waits stays in its file."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            self._keep()

    def _keep(self) -> None:
        try:
            self.undelivered.keep()
        except OSError as error:
            # Epochs stand in the stage's files, too, and are sent with those.
            log.warning("tracking: what the store lacks is kept in memory only: %s", error)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.undelivered.metrics)
                if self._closed:
                    return
                batch = self.undelivered.metrics[0]
            try:
                self._send([Metric(*metric) for metric in batch])
            except MlflowException as error:
                self._wait(error)
                continue
            with self._changed:
                del self.undelivered.metrics[0]
                if self._away:
                    self._keep()
                if self._away and not self.undelivered.metrics:
                    self._away = False
                    log.info("tracking: the store is back, and has all metrics")
                self._changed.notify_all()

    def _wait(self, error: MlflowException) -> None:
        with self._changed:
            if not self._away:
                self._away = True
                self._keep()
                log.warning(
                    "tracking: the store is away (%s); the work goes on, metrics are kept in %s and delivered when it is back",
                    error, self.undelivered.file,
                )  # fmt: skip
            self._changed.wait_for(lambda: self._closed, _RETRY)


def retry_until(do: Callable[[], None], seconds: float) -> None:
    """Call `do` until the store takes it, for so many seconds.

    Raises:
        MlflowException: it did not.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return do()
        except MlflowException as error:
            if time.monotonic() >= deadline:
                raise
            log.info("tracking: the store is away (%s); waiting for it", error)
            time.sleep(min(_RETRY, seconds))
