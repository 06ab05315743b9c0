"""Process beside a sweep, which draws the reports of finished jobs while the next job trains."""

import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from pipeline.jobs.identity import Experiment
from pipeline.system.noise import hide_library_messages
from pipeline.system.terminal import log_file, start_logging

log = logging.getLogger(__name__)

# Lets the training of the next job go first where cores are few.
_NICE = 10
_running: list["Reports"] = []


class Reports(AbstractContextManager):
    """Reports of a sweep's jobs, drawn one after another in one process beside.

    Jobs in this process hand over their stage report within the `with` block, at whose end all reports are complete.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._futures: dict[Path, Future[bool]] = {}

    def __enter__(self) -> "Reports":
        _running.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _running.remove(self)
        if self._pool:
            # After an interruption, the same command draws what is missing.
            self._pool.shutdown(cancel_futures=kind is not None)

    def add(self, experiment: Experiment) -> None:
        """Draw an experiment's report when the reports before it are complete."""
        self._futures[experiment.root] = self._pool_of_one().submit(_draw, experiment, log_file())

    def _pool_of_one(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Forking would copy the locks of TensorFlow's threads.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        return self._pool

    def failure(self, folder: Path) -> Exception | None:
        """Wait for the report of the job in `folder`, and return the error that ended it, if any."""
        future = self._futures.get(folder)
        error = future.exception() if future else None
        return error if isinstance(error, Exception) else None


def hand_over(experiment: Experiment) -> bool:
    """Hand over the report of a job to the process beside; False: there is none, so that the job draws it itself."""
    if not _running:
        return False
    _running[-1].add(experiment)
    return True


def _begin() -> None:
    # The sweep decides what an interruption ends, and this process must not keep a GPU or outlive the sweep.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _draw(experiment: Experiment, file: Path | None) -> bool:
    # Charts and MLflow take seconds to import, which the sweep's own process does not wait for.
    from pipeline.jobs.stage import execute

    hide_library_messages()
    if file:
        start_logging(file, shared=True)
    return execute("report", experiment)
