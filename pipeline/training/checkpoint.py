"""Checkpoints, from which an interrupted training resumes with the same results as without the interruption.

Keras's BackupAndRestore saves neither the counters and best weights of early stopping nor random states. A resumed
training would therefore give other results.
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

# Attributes of EarlyStopping that make up its state, besides its best weights.
_COUNTS = ("best", "best_epoch", "wait", "stopped_epoch")


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after a completed epoch, from which it can be resumed."""

    epochs: int
    """Number of completed epochs."""
    ended: bool
    """Whether the training has ended, by early stopping or after its last epoch."""
    rows: list[Row]
    """Metrics of each completed epoch."""
    stopping: Json
    """State of early stopping."""
    variables: list[np.ndarray]
    """Weights, states of random generators, and variables of the optimizer, including its step."""
    best_weights: list[np.ndarray] = field(default_factory=list)
    """Weights of the best epoch, if they are to be restored."""


def write_checkpoint(checkpoint: Checkpoint, file: Path) -> None:
    """Write a checkpoint so that a crash at any time leaves either the old or the new file complete.

    Raises:
        OSError: The file can't be written, for example to a full disk; the old file is unchanged.
    """
    scalars = {name: getattr(checkpoint, name) for name in ("epochs", "ended", "rows", "stopping")}
    arrays = {f"variable_{index}": array for index, array in enumerate(checkpoint.variables)}
    arrays |= {f"best_{index}": array for index, array in enumerate(checkpoint.best_weights)}
    with whole_file(file) as unfinished, open(unfinished, "wb") as out:
        np.savez(out, allow_pickle=False, scalars=np.array(json.dumps(scalars)), **arrays)
        out.flush()
        os.fsync(out.fileno())


def read_checkpoint(file: Path) -> Checkpoint | None:
    """Read a checkpoint; return None if there is no file, or if it is damaged, which is logged as a warning."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
            # Reading an array verifies its checksum.
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
    """Callback that resumes an interrupted training, and writes a checkpoint after each epoch.

    It must come after the callbacks whose state it saves.
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
        """Create the callback for one fit.

        Args:
            file: Checkpoint file; None disables checkpoints.
            trainable: Model with all weights that change and all random generators.
            recorder: Callback that records the metrics of each epoch.
            stopping: Callback that stores the best weights.
            epochs: Number of epochs of this fit.
        """
        super().__init__()
        self._file, self._trainable, self._epochs = file, trainable, epochs
        self._recorder, self._stopping = recorder, stopping
        self._restored: Checkpoint | None = None

    def restore(self, network: keras.Model) -> int:
        """Restore a compiled network and the recorder's rows from the checkpoint, if there is one.

        Returns:
            Number of completed epochs, or the number of all epochs if the training had ended.
        """
        network.optimizer.build(network.trainable_variables)
        checkpoint = read_checkpoint(self._file) if self._file else None
        if checkpoint is None:
            return 0
        variables = self._variables(network)
        if [array.shape for array in checkpoint.variables] != [tuple(variable.shape) for variable in variables]:
            log.warning(
                "The checkpoint %s is from another network: this training starts from the beginning", self._file
            )
            return 0
        for variable, array in zip(variables, checkpoint.variables, strict=True):
            variable.assign(array)
        self._restored = checkpoint
        self._recorder.rows.extend(checkpoint.rows)
        log.info("Resuming interrupted training after epoch %d", checkpoint.rows[-1]["epoch"])
        return self._epochs if checkpoint.ended else checkpoint.epochs

    def on_train_begin(self, _logs: Logs = None) -> None:
        """Restore the state of early stopping, which Keras has just reset."""
        if self._restored:
            for name, value in self._restored.stopping.items():
                setattr(self._stopping, name, value)
            self._stopping.best_weights = self._restored.best_weights or None

    def on_epoch_end(self, epoch: int, _logs: Logs = None) -> None:
        """Write the checkpoint.

        Raises:
            PipelineError: The file can't be written.
        """
        if not self._file:
            return
        counts = {name: getattr(self._stopping, name) for name in _COUNTS}
        counts["best"] = None if counts["best"] is None else float(counts["best"])
        ended = self.model.stop_training or epoch + 1 == self._epochs
        # Replicated variables have to be converted to tensors on every worker, but only the chief writes the file.
        arrays = [tf.convert_to_tensor(variable.value).numpy() for variable in self._variables(self.model)]
        best = self._stopping.best_weights or []
        try:
            if worker_index() == 0:
                write_checkpoint(Checkpoint(epoch + 1, ended, self._recorder.rows, counts, arrays, best), self._file)
        except OSError as error:
            raise PipelineError(
                f"cache_folder: the checkpoint of epoch {epoch + 1} can't be written to {self._file} ({error}); free "
                "disk space or set another cache_folder; the same command then resumes after the previous epoch"
            ) from error

    def _variables(self, network: keras.Model) -> list[keras.Variable]:
        # The variables of a compiled model include those of its metrics, which are reset in each epoch.
        metrics = {id(variable) for variable in network.metrics_variables + self._trainable.metrics_variables}
        own = [variable for variable in self._trainable.variables if id(variable) not in metrics]
        return own + list(network.optimizer.variables)
