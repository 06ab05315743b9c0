"""The help of the commands."""

import pytest

from pipeline import cache, compare, demo, embed, export, find_lr, predict, probe, register, reproduce, sync
from pipeline.config.compose import GROUPS
from pipeline.config.help import group_help, run_help
from pipeline.system.errors import PipelineError
from tests.support.in_process import call

COMMANDS = [cache, compare, demo, embed, export, find_lr, predict, probe, register, reproduce, sync]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_a_run_explains_itself_its_choices_and_the_keys_that_are_set():
    text = run_help(None, "Run all stages.", ["seed=1"])
    assert text.startswith("usage: python -m pipeline [-m] [key=value ...]\n\nRun all stages.\n\nexamples:\n")
    assert "  python -m pipeline seed=1\n" in text
    assert "  finetune=               article, default, full, light\n" in text
    assert "  train.learning_rate     Peak learning rate, the first setting to tune: " in text
    assert "[a number > 0; default: 0.001]" in " ".join(text.split())
    assert "python -m pipeline.train [-m]" in run_help("train", "", [])


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_group_has_its_choices_and_all_its_keys(group):
    text = group_help(group)
    assert all(choice in text for choice in GROUPS[group])
    assert group == "experiment" or f"\n  {group}." in text


def test_a_section_without_files_has_its_keys():
    text = group_help("image")
    assert "\n  image.resize            Way in which an image gets `image_size`" in text
    assert "conf/image/" not in text


def test_an_unknown_group_is_answered_with_the_nearest():
    with pytest.raises(PipelineError, match=r"--help fintune: unknown group; did you mean finetune\?"):
        group_help("fintune")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda module: module.__name__)
def test_each_command_shows_three_examples(command, capsys):
    assert call(command.main, "--help") == 0
    text = capsys.readouterr().out
    assert text.partition("\nexamples:\n")[2].count(f"  python -m {command.__name__}") == 3


def test_a_command_describes_the_keys_that_it_uses(capsys):
    assert call(register.main, "--help") == 0
    assert "  register.margin         Largest acceptable loss of accuracy: " in capsys.readouterr().out
