"""Difference of a configuration from the defaults in conf/, as the command that repeats it."""

import functools
import re
import shlex
from dataclasses import fields

from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config, experiment_settings
from pipeline.config.compose import CONF, GROUPS, register_resolvers
from pipeline.config.texts import NAMED, quoted_at
from pipeline.storage.files import Json

_PLAIN = re.compile(r"[\w./@%-]+", re.ASCII)


def flat(settings: Json, prefix: str = "") -> Json:
    """Convert settings by section to settings by dotted key; mappings from names stay whole."""
    values: Json = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        values |= flat(value, f"{key}.") if isinstance(value, dict) and key not in NAMED else {key: value}
    return values


def differences(config: Config) -> Json:
    """Return the settings that results depend on and that differ from conf/, by key.

    A group that neither conf/config.yaml nor the data set chooses comes first, and keys are compared with the values of
    its file. Folders and files of users are `...`, since results do not depend on their place.
    """
    settings = experiment_settings(config)
    names = {name: section["name"] for name, section in settings.items() if name in GROUPS}
    usual, own = _defaults(tuple(names.items()))
    chosen = {group: name for group, name in names.items() if name != usual.get(group)}
    changed = {key: value for key, value in flat(settings).items() if key not in own or own[key] != value}
    if config.backbone.has_weights_file:
        changed["backbone.weights"] = "..."
    if config.backbone.has_preset_folder:
        changed["backbone.preset"] = "..."
    return chosen | ({"dataset.path": "..."} if config.dataset.path else {}) | changed


@functools.lru_cache(maxsize=64)
def _defaults(names: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], Json]:
    """Return the options that are chosen by default, by group, and the values that the options `names` give all keys.

    Stages ask for the differences at each check of their results, and reading the files takes 20 milliseconds.
    """
    register_resolvers()
    usual = _choices("config") | _choices(f"dataset/{dict(names)['dataset']}")
    # The file of a data set may change the settings of other groups.
    groups = sorted(names, key=lambda each: each[0] == "dataset")
    base = OmegaConf.masked_copy(_file("config"), [key.name for key in fields(Config) if key.name not in dict(names)])
    merged = OmegaConf.merge(base, *(_option(group, name) for group, name in groups))
    # An option of another checkout may have no file here; then all settings are different.
    known = all((CONF / group / f"{name}.yaml").exists() for group, name in names)
    values = flat(OmegaConf.to_container(merged, resolve=True)) if known else {}
    return usual, values | {f"{group}.name": name for group, name in names}


def _option(group: str, name: str) -> DictConfig:
    """Return the settings of an option of a group by section, with those of the options that it extends.

    The files are read as they are, since Hydra can't compose a second configuration within a job.
    """
    content = _file(f"{group}/{name}")
    others = [each for each in content.pop("defaults", []) if each != "_self_"]
    # Another option of the group stands there alone or as `<option>@<package>`, and one of another group as a mapping.
    earlier = [_option(group, each.partition("@")[0]) for each in others if isinstance(each, str)]
    # A file for several groups has a section for each.
    merged = OmegaConf.merge(*earlier, content if group in content else {group: content})
    assert isinstance(merged, DictConfig)
    return merged


def _choices(name: str) -> dict[str, str]:
    """Return the options that a file chooses, by group."""
    entries = [each for each in _file(name).get("defaults", []) if not isinstance(each, str)]
    return {group.removeprefix("override /"): option for each in entries for group, option in each.items()}


def _file(name: str) -> DictConfig:
    """Return the content of a file in conf/; empty if it is not there, as for a result of another checkout."""
    file = CONF / f"{name}.yaml"
    content = OmegaConf.load(file) if file.exists() else OmegaConf.create({})
    assert isinstance(content, DictConfig)
    return content


def command_line(changed: Json) -> str:
    """Return the command that runs the pipeline with these settings."""
    return " ".join(["python -m pipeline", *(_word(key, value) for key, value in changed.items())])


def _word(key: str, value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"{key}={value}"
    return shlex.quote(f"{key}={quoted_at(key, value)}") if value is not None else f"{key}=null"
