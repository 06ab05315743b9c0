"""How the tools on results end."""

import argparse
import os
from pathlib import Path

import pytest

from pipeline.command import carry_out, whole_number
from pipeline.errors import PipelineError


def raising(error):
    def do():
        raise error

    return do


def test_what_the_user_can_mend_is_a_sentence():
    with pytest.raises(SystemExit, match="no such classifier"):
        carry_out(raising(PipelineError("no such classifier")))
    with pytest.raises(SystemExit, match=f"^\n{os.devnull}/rows.csv: Not a directory$"):
        carry_out(Path(os.devnull, "rows.csv").write_text, "")


def test_what_is_nobodys_file_is_not_hidden():
    with pytest.raises(BrokenPipeError):
        carry_out(raising(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(ValueError, match="a mistake"):
        carry_out(raising(ValueError("a mistake")))


def test_an_interruption_ends_as_shells_know_it(capsys):
    with pytest.raises(SystemExit) as ended:
        carry_out(raising(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted\n"


def test_numbers_of_options_say_their_range():
    assert whole_number(1)("12") == 12
    for given in ("0", "-1", "1.5", "many", ""):
        with pytest.raises(
            argparse.ArgumentTypeError, match=f"'{given}' is not allowed; it takes a whole number, 1 to 9"
        ):
            whole_number(1, 9)(given)
