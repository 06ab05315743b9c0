"""Difference of a configuration from the defaults in conf/, as the command that repeats it."""

import functools
import re
import shlex

from omegaconf import OmegaConf

from pipeline.config import Config, experiment_settings
from pipeline.config.compose import GROUPS, composed
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
    names = {group: settings[group]["name"] for group in settings if group in GROUPS}
    usual = _defaults((f"dataset={names['dataset']}",)) | {"dataset.name": _defaults(())["dataset.name"]}
    chosen = {group: name for group, name in names.items() if name != usual[f"{group}.name"]}
    own = _defaults(tuple(f"{group}={name}" for group, name in chosen.items()))
    changed = {key: value for key, value in flat(settings).items() if key in own and own[key] != value}
    if config.backbone.has_weights_file:
        changed["backbone.weights"] = "..."
    return chosen | ({"dataset.path": "..."} if config.dataset.path else {}) | changed


@functools.lru_cache(maxsize=64)
def _defaults(groups: tuple[str, ...]) -> Json:
    return flat(OmegaConf.to_container(composed(groups)))


def command_line(changed: Json) -> str:
    """Return the command that runs the pipeline with these settings."""
    return " ".join(["python -m pipeline", *(_word(key, value) for key, value in changed.items())])


def _word(key: str, value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"{key}={value}"
    return shlex.quote(f"{key}={quoted_at(key, value)}") if value is not None else f"{key}=null"
