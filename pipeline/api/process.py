"""Process of `run_experiment`: `python -m pipeline` without repeating complete stages, and its outcome in a file."""

import os
import signal
import sys
import threading
from pathlib import Path

from pipeline.jobs import launch
from pipeline.storage.files import write_json
from pipeline.system.terminal import log_file


def main() -> None:
    """Run the experiment that the arguments configure, after the first one, which is the file of the outcome."""
    outcome = Path(sys.argv.pop(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        launch.main(None, repeat=False)
    except SystemExit as end:
        log = log_file()
        write_json(outcome, {"status": end.code, "folder": str(log.parent) if log else None})


def _end_with_parent() -> None:
    # Standard input has no content, and ends when the other process closes it or dies.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
