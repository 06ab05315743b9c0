"""Words of a command line that are not settings: options of Hydra, and words that nothing can read."""

from collections.abc import Iterable, Iterator

from pipeline.config.validate import ConfigError, known_keys

_WITH_VALUE = {
    *("--cfg", "-c", "--info", "-i", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun"),
}
_OPTIONS = {
    *_WITH_VALUE,
    *("--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc"),
}


def check_words(words: Iterable[str]) -> None:
    """Check words that are not overrides, since Hydra would answer a wrong one with the usage of its own program.

    Raises:
        ConfigError: A word is not an option of Hydra or the value of one.
    """
    if problems := list(_problems(words)):
        raise ConfigError(problems)


def _problems(words: Iterable[str]) -> Iterator[str]:
    keys, before = known_keys(), ""
    for word in words:
        name, _, value = word.partition("=")
        if name.startswith("-") and not _is_option(name):
            key = name.lstrip("-")
            meant = f"{key}={value or '<value>'}" if key in keys else "key=value, without dashes"
            yield f"{name}: unknown option; a setting is {meant}, and --help shows the options"
        elif not name.startswith("-") and before not in _WITH_VALUE:
            meant = f"{name}=<value>" if name in keys else "key=value, with quotes around a value that has spaces"
            yield f"{word}: expected {meant}"
        before = word


def _is_option(name: str) -> bool:
    """Return whether argparse would read a name as an option: in full, cut short, or joined with its value."""
    if name.startswith("--"):
        return any(each.startswith(name) for each in _OPTIONS)
    return any(name.startswith(each) for each in _OPTIONS if not each.startswith("--"))
