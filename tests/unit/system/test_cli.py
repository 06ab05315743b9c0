"""How the tools on results end."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.system.cli import run_command, whole_number
from pipeline.system.errors import PipelineError


def raising(error):
    def do():
        raise error

    return do


def test_what_the_user_can_mend_is_a_sentence():
    with pytest.raises(SystemExit, match="no such classifier"):
        run_command(raising(PipelineError("no such classifier")))
    with pytest.raises(SystemExit, match=f"^\n{os.devnull}/rows.csv: Not a directory$"):
        run_command(Path(os.devnull, "rows.csv").write_text, "")


def test_what_is_nobodys_file_is_not_hidden():
    with pytest.raises(BrokenPipeError):
        run_command(raising(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(ValueError, match="a mistake"):
        run_command(raising(ValueError("a mistake")))


def test_an_interruption_ends_as_shells_know_it(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(raising(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted\n"


def test_numbers_of_options_say_their_range():
    assert whole_number(1)("12") == 12
    for given in ("0", "-1", "1.5", "many", ""):
        with pytest.raises(
            argparse.ArgumentTypeError, match=f"invalid value '{given}'; expected an integer from 1 to 9"
        ):
            whole_number(1, 9)(given)


@pytest.mark.parametrize("name", ["configure", "watch", "result"])
def test_commands_of_dvc_and_make_explain_themselves_and_refuse_arguments(name):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", f"pipeline.{name}", *words], capture_output=True, text=True)

    assert run("--help").stdout.startswith(f"usage: python -m pipeline.{name} [-h]\n\n")
    wrong = run("seed=1")
    assert wrong.returncode == 2
    assert "unrecognized arguments: seed=1" in wrong.stderr
