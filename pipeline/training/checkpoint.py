"""Going on from the last finished epoch: all that the rest of a fit depends on, in one file that is whole or not there."""

import json
import logging
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.storage.files import whole_file
from pipeline.system.environment import worker_index
from pipeline.system.errors import PipelineError
from pipeline.training.callbacks import EpochRecorder
from pipeline.training.history import Row

log = logging.getLogger(__name__)

# What EarlyStopping counts by, beside its best weights.
_COUNTED = ("best", "best_epoch", "wait", "stopped_epoch")


@dataclass(frozen=True)
class State:
    """A fit after an epoch."""

    epochs: int
    """Epochs that are done."""
    ended: bool
    """No further one will be run: it was stopped early, or has had all of its epochs."""
    rows: list[Row]
    stopping: dict[str, Any]
    """EarlyStopping's counts."""
    variables: list[np.ndarray]
    """Weights, the states of random generators, and the optimizer's variables, its steps among them."""
    best: list[np.ndarray] = field(default_factory=list)
    """The best epoch's weights, where they are to be restored."""


def write_state(state: State, file: Path) -> None:
    """Write a fit's state, the file whole or not at all, even if the machine fails the next moment.

    Raises:
        OSError: such as a full disk; the file is then as it was.
    """
    told = {name: getattr(state, name) for name in ("epochs", "ended", "rows", "stopping")}
    arrays = {f"variable_{index}": array for index, array in enumerate(state.variables)}
    arrays |= {f"best_{index}": array for index, array in enumerate(state.best)}
    with whole_file(file) as unfinished, open(unfinished, "wb") as out:
        np.savez(out, told=np.array(json.dumps(told)), **arrays)
        out.flush()
        os.fsync(out.fileno())


def read_state(file: Path) -> State | None:
    """The state in `file`; None where there is none, or a damaged one, which is said."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as kept:
            # Each array has a checksum, which reading it compares.
            arrays = {name: kept[name] for name in kept.files}
        told = json.loads(str(arrays.pop("told")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("What %s held to go on from is damaged (%s): this training begins anew", file, error)
        return None
    variables, best = ([arrays[f"{kind}_{n}"] for n in range(_count(arrays, kind))] for kind in ("variable", "best"))
    return State(**told, variables=variables, best=best)


def _count(arrays: dict[str, np.ndarray], kind: str) -> int:
    return sum(name.startswith(f"{kind}_") for name in arrays)


class EpochCheckpoint(keras.callbacks.Callback):
    """Restores a fit that was cut off, and after each epoch keeps its state, then reports the epoch.

    In this order, so that nothing was reported that would have to be computed again. The last of the callbacks: it keeps what the others have
    counted.
    """

    def __init__(
        self,
        file: Path | None,
        trainable: keras.Model,
        recorder: EpochRecorder,
        stopping: keras.callbacks.EarlyStopping,
        epochs: int,
        report: Callable[[Row], None],
    ):
        """`trainable` holds all weights that change and all random generators; `epochs`: of this fit. Without a `file` nothing is kept."""
        super().__init__()
        self._file, self._trainable, self._epochs = file, trainable, epochs
        self._recorder, self._stopping, self._report = recorder, stopping, report
        self._restored: State | None = None

    def restore(self, network: keras.Model) -> int:
        """Put a compiled network back to where it was cut off, and report the epochs until then.

        Returns:
            epochs that are done; all of them where the fit had ended.
        """
        network.optimizer.build(network.trainable_variables)
        state = read_state(self._file) if self._file else None
        variables = self._variables(network)
        if state is None:
            return 0
        if [array.shape for array in state.variables] != [tuple(variable.shape) for variable in variables]:
            log.warning("What %s held to go on from belongs to another network: this training begins anew", self._file)
            return 0
        for variable, array in zip(variables, state.variables, strict=True):
            variable.assign(array)
        self._restored = state
        self._recorder.rows.extend(state.rows)
        for row in state.rows:
            self._report(row)
        log.info("Going on after epoch %d, where this training was cut off", state.rows[-1]["epoch"])
        return self._epochs if state.ended else state.epochs

    def on_train_begin(self, logs=None):
        if self._restored:
            # EarlyStopping has just forgotten them.
            for name, value in self._restored.stopping.items():
                setattr(self._stopping, name, value)
            self._stopping.best_weights = self._restored.best or None

    def on_epoch_end(self, epoch, logs=None):
        if self._file:
            # All workers of a training look at its variables; the chief alone writes.
            state = self._state(epoch + 1)
            try:
                if worker_index() == 0:
                    write_state(state, self._file)
            except OSError as error:
                raise PipelineError(
                    f"cache_folder: the state of epoch {epoch + 1} can't be written to {self._file} ({error}); make room or "
                    "name another cache_folder, and the same command goes on from the epoch before"
                ) from error
        self._report(self._recorder.rows[-1])

    def _state(self, epochs: int) -> State:
        stopping = {name: getattr(self._stopping, name) for name in _COUNTED}
        stopping["best"] = None if stopping["best"] is None else float(stopping["best"])
        return State(
            epochs,
            self.model.stop_training or epochs == self._epochs,
            self._recorder.rows,
            stopping,
            # A replicated variable is an array when TensorFlow has read it.
            [tf.convert_to_tensor(variable.value).numpy() for variable in self._variables(self.model)],
            self._stopping.best_weights or [],
        )

    def _variables(self, network: keras.Model) -> list[keras.Variable]:
        # A compiled model counts its metrics' variables too, which each epoch begins at zero.
        metrics = {id(variable) for variable in network.metrics_variables + self._trainable.metrics_variables}
        own = [variable for variable in self._trainable.variables if id(variable) not in metrics]
        return own + list(network.optimizer.variables)
