"""Help of the commands, `--help`: what a command does, its options, examples, and keys of the configuration."""

import argparse
import inspect
import shutil
import textwrap
from collections.abc import Iterable, Sequence

from pipeline.config.compose import GROUPS
from pipeline.config.descriptions import Defaults, Key, all_keys, keys_of, sections
from pipeline.config.validate import unknown
from pipeline.system.errors import PipelineError

_WIDEST = 110
_OPTIONS = {
    "-m, --multirun": "run one job for each combination of values that commas separate: a sweep",
    "--help [GROUP]": "show this text, or the choices and all keys of a group, as in --help finetune",
    "--cfg job": "print the composed configuration, and run nothing",
    "--hydra-help": "show the options of Hydra, which composes the configuration",
}
_FREQUENT = (
    *("dataset.path", "dataset.test", "image_size", "image.resize", "backbone.weights", "augment.views"),
    *("train.epochs", "train.learning_rate", "finetune.unfreeze", "finetune.epochs", "finetune.learning_rate"),
    *("evaluate.calibrate", "hardware.precision", "seed", "tracking.uri", "tracking.experiment"),
    *("cache_folder", "plan"),
)
_GROUPS_OF_RUNS = ("dataset", "backbone", "augment", "train", "finetune", "evaluate", "hardware", "experiment")


class CommandParser(argparse.ArgumentParser):
    """Parser of a command's arguments, whose help ends with examples, and with keys that the command uses."""

    def __init__(self, name: str, description: str | None, *, examples: Sequence[str], keys: Sequence[str] = ()):
        """Create a parser.

        Args:
            name: Name of the command, as in `python -m pipeline.<name>`.
            description: What the command does; a docstring.
            examples: Arguments of example commands.
            keys: Keys and groups of the configuration that the command uses.
        """
        super().__init__(
            f"python -m pipeline.{name}",
            description=inspect.cleandoc(description or ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._examples, self._keys = examples, keys

    def format_help(self) -> str:
        """Return the help text."""
        parts = [super().format_help().rstrip(), _examples(self.prog, self._examples)]
        if self._keys:
            known = all_keys()
            used = [key for each in self._keys for key in known.values() if f"{key.name}.".startswith(f"{each}.")]
            parts += [f"keys of the configuration, as key=value:\n{_describe(used)}", _all_keys()]
        return "\n\n".join(parts) + "\n"


def run_help(stage: str | None, description: str, examples: Sequence[str]) -> str:
    """Return the help of a command that runs stages.

    Args:
        stage: The last stage that it runs; None: all.
        description: What the command does.
        examples: Arguments of example commands.
    """
    command = f"python -m pipeline.{stage}" if stage else "python -m pipeline"
    known = all_keys()
    choices = {f"{name}=": ", ".join(GROUPS[name]) for name in _GROUPS_OF_RUNS}
    parts = [
        f"usage: {command} [-m] [key=value ...]",
        textwrap.fill(description, _width()),
        _examples(command, examples),
        f"options:\n{_columns(_OPTIONS)}",
        f"choices, each a file in conf/<group>/:\n{_columns(choices)}",
        f"keys that are often set:\n{_describe(known[name] for name in _FREQUENT)}",
        _all_keys(),
    ]
    return "\n\n".join(parts) + "\n"


def group_help(name: str) -> str:
    """Return the choices and all keys of a group, or all keys of a section without files.

    Raises:
        PipelineError: There is no such group or section.
    """
    if name not in _explained():
        raise PipelineError(f"--help {unknown('group', name, _explained())} (available: {', '.join(_explained())})")
    parts, section = [], sections().get(name)
    if section:
        parts.append(inspect.getdoc(section) or "")
    if name in GROUPS:
        parts.append(f"{name}=<choice>, a file in conf/{name}/:\n{_columns({'': ', '.join(GROUPS[name])})}")
    if section:
        parts.append(f"keys:\n{_describe(keys_of(section, f'{name}.'))}")
    return "\n\n".join(parts) + "\n"


def _explained() -> list[str]:
    return sorted({*GROUPS, *sections()})


def _examples(command: str, arguments: Iterable[str]) -> str:
    return "examples:\n" + "\n".join(f"  {command} {each}".rstrip() for each in arguments)


def _all_keys() -> str:
    return textwrap.fill(
        "All keys of a group: python -m pipeline --help GROUP. Groups: "
        f"{', '.join(_explained())}. All keys of all groups: docs/configuration.md.",
        _width(),
    )


def _describe(keys: Iterable[Key]) -> str:
    defaults = Defaults.read()
    return _columns({key.name: f"{key.meaning} [{key.allowed}; default: {defaults.of(key.name)}]" for key in keys})


def _columns(rows: dict[str, str]) -> str:
    """Format rows of a name and a text, which begins on the next line after a long name."""
    lines = []
    for name, text in rows.items():
        wrapped = textwrap.wrap(text, _width() - 26, break_on_hyphens=False) or [""]
        if len(name) > 21:
            lines.append(f"  {name}")
            name = ""
        lines.append(f"  {name:<22}  {wrapped[0]}")
        lines += [f"{'':26}{line}" for line in wrapped[1:]]
    return "\n".join(lines)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST) - 2
