"""Words of a command line that Hydra would answer in its own terms."""

import pytest

from pipeline.config.arguments import check_words
from pipeline.config.validate import ConfigError


@pytest.mark.parametrize(
    "words",
    [
        ["-m"],
        ["--multirun", "--cfg", "job", "--resolve"],
        ["--multi", "-cjob"],
        ["-cn", "config"],
        ["--cfg=job"],
    ],
)
def test_options_of_hydra_pass(words):
    check_words(words)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("--epochs", "--epochs: unknown option; a setting is key=value, without dashes, and --help shows the options"),
        (
            "--train.epochs=3",
            "--train.epochs: unknown option; a setting is train.epochs=3, and --help shows the options",
        ),
        ("train.epochs", "train.epochs: expected train.epochs=<value>"),
        ("photos/shop", "photos/shop: expected key=value, with quotes around a value that has spaces"),
    ],
)
def test_other_words_are_named_with_what_was_meant(word, problem):
    with pytest.raises(ConfigError) as caught:
        check_words(["-m", word])
    assert caught.value.problems == [problem]
