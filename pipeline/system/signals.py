"""Ctrl-C and SIGTERM: both end the work in order, neither in the middle of a transaction."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_heard: list[int] = []


def install_handlers() -> None:
    """From now on SIGTERM does what Ctrl-C does, so that a supervisor, too, leaves closed runs and no half-written folder."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def handlers_installed() -> Iterator[None]:
    """Within the block as after `install_handlers`, in a process that is somebody else's otherwise, such as a launcher's worker."""
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
    """Whether the process was told to end: libraries turn a `KeyboardInterrupt` at an unlucky moment into errors of their own."""
    return bool(_heard)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Put off an interruption to the end of the block; a second one is heard at once.

    A database whose transaction was cut off stays locked for the very process that has to write down how it ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def put_off(number, frame):
        if waiting:
            _interrupt(number, frame)
        waiting.append(number)

    for number in _SIGNALS:
        signal.signal(number, put_off)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        _interrupt(waiting[0], None)


def _interrupt(number, _frame):
    _heard.append(number)
    raise KeyboardInterrupt
