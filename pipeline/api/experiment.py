"""Start of an experiment from Python."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from pipeline.api.run import Run, open_run
from pipeline.config.compose import is_override
from pipeline.storage.files import Json, read_json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE

_INTERRUPTED = 130


def run_experiment(*overrides: str) -> Run:
    """Run the stages of an experiment whose results are missing, as `python -m pipeline` does, and open its results.

    The stages run in a process of their own, since threads, determinism and random generators are set for a whole
    process. Its messages appear on standard error. After an interruption, the same call resumes.

    Args:
        overrides: Overrides of the configuration, such as "backbone=resnet50"; relative paths are relative to the
            checkout.

    Raises:
        PipelineError: The configuration is invalid, or a stage failed.
        KeyboardInterrupt: The experiment was interrupted.
    """
    for each in overrides:
        if not is_override(each):
            raise PipelineError(
                f"run_experiment: {each!r} is not an override; give key=value, or run a sweep or an option on the command "
                "line, with python -m pipeline"
            )
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.json"
        _run_process([sys.executable, "-m", "pipeline.api.process", str(outcome), *overrides])
        ended: Json = read_json(outcome) if outcome.exists() else {"status": 1}
    status = ended["status"]
    if status == _INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        sentence = status.strip() if isinstance(status, str) else "The experiment failed; see its messages above"
        raise PipelineError(sentence)
    if ended["folder"] is None:
        raise PipelineError("plan=true computes nothing, so there are no results to open; see the plan above")
    return open_run(ended["folder"], overrides=[each for each in overrides if not each.startswith("hydra")])


def _run_process(command: list[str]) -> None:
    """Run a command in the checkout, and write its output to standard error, line by line.

    Its standard input closes if this process is interrupted or killed; then it ends in order. Signals of the terminal
    or the notebook do not reach it, since it must not be interrupted twice.
    """
    # Notebooks set this variable, which would turn on progress bars.
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    with subprocess.Popen(
        command,
        cwd=CODE,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        process_group=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _show(process.stdout)
        except KeyboardInterrupt:
            process.stdin.close()
            _show(process.stdout)
            raise


def _show(lines: IO[str]) -> None:
    for line in lines:
        print(line, end="", file=sys.stderr)
