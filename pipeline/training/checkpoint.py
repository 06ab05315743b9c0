"""Checkpoints: all that the rest of a fit depends on, in one file, from which a fit that was cut off resumes.

Keras's BackupAndRestore keeps neither early stopping's counts and best weights nor random states, so that a resumed
fit would end with other numbers.
"""

import json
import logging
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.storage.files import Json, whole_file
from pipeline.system.errors import PipelineError
from pipeline.system.processes import worker_index
from pipeline.training import Row
from pipeline.training.callbacks import EpochRecorder, Logs

log = logging.getLogger(__name__)

# Attributes that EarlyStopping counts by, beside its best weights.
_COUNTS = ("best", "best_epoch", "wait", "stopped_epoch")


@dataclass(frozen=True)
class Checkpoint:
    """A fit after an epoch."""

    epochs: int
    """Completed epochs."""
    ended: bool
    """Whether it was the fit's last epoch, by early stopping or by number."""
    rows: list[Row]
    stopping: Json
    """EarlyStopping's counts."""
    variables: list[np.ndarray]
    """Weights, states of random generators, and the optimizer's variables, its step among them."""
    best_weights: list[np.ndarray] = field(default_factory=list)
    """The best epoch's weights, where they are to be restored."""


def write_checkpoint(checkpoint: Checkpoint, file: Path) -> None:
    """Write a checkpoint, whole or not at all, even if the machine fails the next moment.

    Raises:
        OSError: such as a full disk; the file is then as it was.
    """
    scalars = {name: getattr(checkpoint, name) for name in ("epochs", "ended", "rows", "stopping")}
    arrays = {f"variable_{index}": array for index, array in enumerate(checkpoint.variables)}
    arrays |= {f"best_{index}": array for index, array in enumerate(checkpoint.best_weights)}
    with whole_file(file) as unfinished, open(unfinished, "wb") as out:
        np.savez(out, allow_pickle=False, scalars=np.array(json.dumps(scalars)), **arrays)
        out.flush()
        os.fsync(out.fileno())


def read_checkpoint(file: Path) -> Checkpoint | None:
    """Read a checkpoint; None, with a warning, where the file is damaged, and None where there is no file."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
            # Each array has a checksum, which reading it compares.
            arrays = {name: stored[name] for name in stored.files}
        scalars = json.loads(str(arrays.pop("scalars")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("The checkpoint %s is damaged (%s): this training starts from the beginning", file, error)
        return None
    variables, best = ([arrays[name] for name in arrays if name.startswith(kind)] for kind in ("variable_", "best_"))
    return Checkpoint(**scalars, variables=variables, best_weights=best)


class EpochCheckpoint(keras.callbacks.Callback):
    """Restores a fit that was cut off, and writes a checkpoint after each epoch.

    Placed after the callbacks whose counts it writes.
    """

    def __init__(
        self,
        file: Path | None,
        trainable: keras.Model,
        *,
        recorder: EpochRecorder,
        stopping: keras.callbacks.EarlyStopping,
        epochs: int,
    ):
        """Create it for one fit.

        Args:
            file: of the checkpoint; None: nothing is written or restored.
            trainable: the model with all weights that change and all random generators.
            recorder: has the rows.
            stopping: has the counts and the best weights.
            epochs: of this fit.
        """
        super().__init__()
        self._file, self._trainable, self._epochs = file, trainable, epochs
        self._recorder, self._stopping = recorder, stopping
        self._restored: Checkpoint | None = None

    def restore(self, network: keras.Model) -> int:
        """Restore a compiled network, and the recorder's rows.

        Returns:
            completed epochs; all epochs of the fit where it had ended.
        """
        network.optimizer.build(network.trainable_variables)
        checkpoint = read_checkpoint(self._file) if self._file else None
        if checkpoint is None:
            return 0
        variables = self._variables(network)
        if [array.shape for array in checkpoint.variables] != [tuple(variable.shape) for variable in variables]:
            log.warning("The checkpoint %s is of another network: this training starts from the beginning", self._file)
            return 0
        for variable, array in zip(variables, checkpoint.variables, strict=True):
            variable.assign(array)
        self._restored = checkpoint
        self._recorder.rows.extend(checkpoint.rows)
        log.info("Resuming after epoch %d, where this training was cut off", checkpoint.rows[-1]["epoch"])
        return self._epochs if checkpoint.ended else checkpoint.epochs

    def on_train_begin(self, _logs: Logs = None) -> None:
        """Restore early stopping, which has just reset itself."""
        if self._restored:
            for name, value in self._restored.stopping.items():
                setattr(self._stopping, name, value)
            self._stopping.best_weights = self._restored.best_weights or None

    def on_epoch_end(self, epoch: int, _logs: Logs = None) -> None:
        """Write the checkpoint.

        Raises:
            PipelineError: the file can't be written.
        """
        if not self._file:
            return
        counts = {name: getattr(self._stopping, name) for name in _COUNTS}
        counts["best"] = None if counts["best"] is None else float(counts["best"])
        ended = self.model.stop_training or epoch + 1 == self._epochs
        # A replicated variable is not an array until TensorFlow has read it, on every worker; the chief alone writes.
        arrays = [tf.convert_to_tensor(variable.value).numpy() for variable in self._variables(self.model)]
        best = self._stopping.best_weights or []
        try:
            if worker_index() == 0:
                write_checkpoint(Checkpoint(epoch + 1, ended, self._recorder.rows, counts, arrays, best), self._file)
        except OSError as error:
            raise PipelineError(
                f"cache_folder: the checkpoint of epoch {epoch + 1} can't be written to {self._file} ({error}); make "
                "room or name another cache_folder; the same command then resumes after the epoch before"
            ) from error

    def _variables(self, network: keras.Model) -> list[keras.Variable]:
        # A compiled model counts its metrics' variables too, which each epoch resets.
        metrics = {id(variable) for variable in network.metrics_variables + self._trainable.metrics_variables}
        own = [variable for variable in self._trainable.variables if id(variable) not in metrics]
        return own + list(network.optimizer.variables)
