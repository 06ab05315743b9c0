"""Records of the results that are logged to the tracking store, and of the data that still has to be logged.

They are files in the cache folder, so that the files of a result never change.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.config import Config, TrackingConfig
from pipeline.storage.files import Json, is_writable, read_json, write_json
from pipeline.system.paths import resolve
from pipeline.tracking.new_run import RunRecord
from pipeline.tracking.store import mask_secrets, store_uri


class Ledger:
    """Record of an experiment's logged results. If its file is deleted, the results are logged again."""

    def __init__(self, cache: Path, experiment_key: str, tracking: TrackingConfig):
        """Open the ledger of an experiment.

        Args:
            cache: Cache folder.
            experiment_key: Key from `pipeline.jobs.identity`.
            tracking: Settings of the tracking store; results logged to other stores do not count.
        """
        self._file, self._store = cache / f"logged-{experiment_key}.json", mask_secrets(store_uri(tracking))

    @property
    def run_id(self) -> str | None:
        """Return the id of the experiment's run; None if nothing was logged."""
        return self._read().get("run_id")

    def has(self, folder: Path) -> bool:
        """Return whether the result in a stage's folder was logged."""
        return self._read().get("stages", {}).get(folder.name) == _stage_key(folder)

    def add(self, folder: Path, run_id: str) -> None:
        """Record that the result in a stage's folder is logged to a run, unless the cache is read-only."""
        if not is_writable(self._file.parent):
            return
        known = self._read()
        stages = known["stages"] if known.get("run_id") == run_id else {}
        entry = {"store": self._store, "run_id": run_id, "stages": stages | {folder.name: _stage_key(folder)}}
        write_json(self._file, entry)

    def _read(self) -> Json:
        try:
            entry = read_json(self._file)
        except (OSError, ValueError):
            return {}
        return entry if entry.get("store") == self._store else {}


def ledger_of(key: str, config: Config) -> Ledger:
    """Return the ledger of the experiment with this key for the configured store."""
    return Ledger(resolve(config.cache_folder), key, config.tracking)


def _stage_key(folder: Path) -> str:
    return read_json(folder / "run.json")["stage_key"]


@dataclass
class PendingLog:
    """Data of a run that the store does not have yet, saved in a file in the cache folder."""

    file: Path
    run: RunRecord
    metrics: list[list[tuple[str, float, int, int]]] = field(default_factory=list)
    """One batch of metrics per epoch, each with name, value, milliseconds since 1970, and step."""
    stages: list[str] = field(default_factory=list)
    """Folders of finished stages."""
    status: str | None = None
    """Status in which the run ended; None if it is running, or MLflow has its status."""

    @classmethod
    def of_run(cls, cache: Path, run: RunRecord) -> "PendingLog":
        """Create the pending log of a run, with the data that an earlier process has saved in the folder `cache`."""
        file = cache / f"undelivered-{run.id}.json"
        earlier = cls.read(file) if file.exists() else cls(file, run)
        return cls(file, run, earlier.metrics, earlier.stages)

    @classmethod
    def read(cls, file: Path) -> "PendingLog":
        """Read a file that `save` wrote.

        Raises:
            OSError, ValueError, TypeError, KeyError: The file can't be read, or has another format.
        """
        content = read_json(file)
        batches = [[tuple(metric) for metric in batch] for batch in content["metrics"]]
        return cls(file, RunRecord.from_dict(content["run"]), batches, content["stages"], content["status"])

    def __bool__(self) -> bool:
        return bool(self.metrics or self.stages or self.status)

    def save(self) -> None:
        """Write the file, or remove it if no data is pending."""
        if self:
            content = {"run": asdict(self.run), "metrics": self.metrics, "stages": self.stages, "status": self.status}
            write_json(self.file, content)
        elif self.file.exists():
            # On a read-only file system, removing a file fails even if it does not exist.
            self.file.unlink()


def pending_run_id(cache: Path, experiment_key: str) -> str | None:
    """Return the id of an experiment's run with pending data in the folder `cache`; None if there is none."""
    for file in sorted(cache.glob("undelivered-*.json")):
        try:
            run = PendingLog.read(file).run
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if run.experiment_key == experiment_key:
            return run.id
    return None
