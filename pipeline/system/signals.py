"""Ctrl-C and SIGTERM: both end the work in order, and neither interrupts a transaction."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_Handler = Callable[[int, FrameType | None], None]


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def install_handlers(handler: _Handler = _interrupt) -> None:
    """Make SIGTERM do what Ctrl-C does, so that a supervisor also leaves closed runs and no partial folders."""
    for number in _SIGNALS:
        signal.signal(number, handler)


@contextmanager
def handlers_installed(handler: _Handler = _interrupt) -> Iterator[None]:
    """Install the handlers within a block, in a process that belongs to others, such as a launcher's worker."""
    # Python calls handlers in the main thread, and installs them nowhere else.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        install_handlers(handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def interrupted() -> bool:
    """Return whether the process was interrupted; libraries may turn a `KeyboardInterrupt` into errors of their own."""
    return bool(_received)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer an interruption to the end of a block; a second one is raised at once.

    A database whose transaction is cut off stays locked, and the same process could not record how the run ended.
    """
    deferred: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        if deferred:
            _interrupt(number, frame)
        deferred.append(number)

    with handlers_installed(defer):
        yield
    if deferred:
        _interrupt(deferred[0], None)
