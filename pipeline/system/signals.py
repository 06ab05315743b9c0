"""Ctrl-C and SIGTERM: both end the work in order, and neither interrupts a transaction."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


def install_handlers() -> None:
    """Make SIGTERM do what Ctrl-C does, so that a supervisor also leaves closed runs and no partial folders."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def handlers_installed() -> Iterator[None]:
    """Install the handlers within a block, in a process that belongs to others, such as a launcher's worker."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    install_handlers()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted() -> bool:
    """Return whether the process was interrupted; libraries may turn a `KeyboardInterrupt` into errors of their own."""
    return bool(_received)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer an interruption to the end of a block; a second one is raised at once.

    A database whose transaction is cut off stays locked, and the same process could not record how the run ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deferred: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def defer(number: int, frame: FrameType | None) -> None:
        if deferred:
            _interrupt(number, frame)
        deferred.append(number)

    for number in _SIGNALS:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if deferred:
        _interrupt(deferred[0], None)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
