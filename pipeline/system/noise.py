"""Messages of libraries: those that are not problems are hidden, in the terminal and in log files.

Python code logs through loggers with a level. TensorFlow's C++ code writes to file descriptor 2 whatever level is set,
so that a process beside reads what it writes, and passes on what matters. It is a process and not a thread, since the
last words of a crash have to get through. It runs this file, which imports only the standard library at its top.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

# Lines of Abseil (I0000 00:00:1795752448.258098 11147 port.cc:153] ...) and of TensorFlow (2026-01-31 ...: I ...).
_LINE = re.compile(
    rb"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\]|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: (?P<old>[IWEF]) "
)
_CHATTER = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog|INFO: Created TensorFlow Lite |fully_quantize: )"
)
# Why a GPU stays unused: a warning to TensorFlow, but all that names the library.
_LOADING = re.compile(rb"dlopen|load(ing)? (dynamic )?librar|missing librar|cuInit|libcu\w+\.so")
# Errors to TensorFlow that change nothing; the last comes with each data set on a machine with a GPU.
_HARMLESS = re.compile(
    rb"Unable to register cu\w+ factory|meta_optimizer\.cc|NodeDef mentions attribute \w+ which is not in the op definition"
)


def is_noise(line: bytes) -> bool:
    """Return whether a line of TensorFlow's C++ code is not about a problem; lines of any other form are about one."""
    if _CHATTER.match(line):
        return True
    match = _LINE.match(line)
    if not match or _LOADING.search(line):
        return False
    return (match["level"] or match["old"]) in (b"I", b"W") or bool(_HARMLESS.search(line))


def hide_library_messages() -> None:
    """Hide warnings about code, unless `python -W default` asks for them, and warnings that concern no user.

    Call it at the start of a command, before other libraries are imported.
    """
    if not sys.warnoptions:
        # Some libraries switch their own warnings on again, so that filters would not do.
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").propagate = False
        logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    # It warns that it lists the system's fonts, once for each machine.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


@contextmanager
def tensorflow_import() -> Iterator[None]:
    """Import TensorFlow within the block: a spinner runs meanwhile, and from now on only problems are reported.

    Messages stay visible where standard error is not the process's own, as in notebooks and tests.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    # The process beside has no use for it.
    from pipeline.system.terminal import waiting

    own = sys.__stderr__
    if own is not None and sys.stderr is own and own.fileno() == 2:
        _divert_native_messages()
    with waiting("loading TensorFlow"):
        yield
    logging.getLogger("absl").setLevel(logging.ERROR)


def filter_into(output: int) -> int:
    """Start a process that passes lines on to a file descriptor, without noise, and return where to write them."""
    reader, writer = os.pipe()
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=reader,
        stdout=output,
        # Ctrl-C ends only those that write; the process ends after the last of them.
        start_new_session=True,
    )
    os.close(reader)
    return writer


def _divert_native_messages() -> None:
    """Let file descriptor 2 lead to a filter, and Python's standard error to the terminal or file as before."""
    sys.stderr.flush()
    terminal = os.dup(2)
    writer = filter_into(terminal)
    os.dup2(writer, 2)
    os.close(writer)
    encoding = sys.stderr.encoding
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)


def _pass_on(lines: BinaryIO, output: BinaryIO) -> None:
    for line in lines:
        if not is_noise(line):
            output.write(line)
            output.flush()


if __name__ == "__main__":
    _pass_on(sys.stdin.buffer, sys.stdout.buffer)
