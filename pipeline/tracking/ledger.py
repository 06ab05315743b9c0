"""Which MLflow run has which result of an experiment.

Kept in the cache folder, so that a result's own files never change.
"""

from pathlib import Path

from pipeline.storage.files import Json, is_writable, read_json, write_json


class Ledger:
    """The results of one experiment that a tracking store has. Where its file is deleted, they are logged again."""

    def __init__(self, cache: Path, experiment_key: str, store: str):
        """Open the ledger of an experiment.

        Args:
            cache: the cache folder.
            experiment_key: see `pipeline.jobs.identity`.
            store: address of the tracking store; another one has nothing yet.
        """
        self._file, self._store = cache / f"logged-{experiment_key}.json", store

    @property
    def run_id(self) -> str | None:
        """The experiment's run; None where nothing was logged."""
        return self._read().get("run_id")

    def has(self, folder: Path) -> bool:
        """Return whether the result in a stage's folder was logged."""
        return self._read().get("stages", {}).get(folder.name) == _stage_key(folder)

    def add(self, folder: Path, run_id: str) -> None:
        """Note that a run has the result in a stage's folder; not noted on a read-only file system."""
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


def _stage_key(folder: Path) -> str:
    return read_json(folder / "run.json")["stage_key"]
