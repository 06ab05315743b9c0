"""Settings in which a configuration differs from the files in conf/ that it has chosen."""

import functools
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config, experiment_settings
from pipeline.config.compose import CONF, register_resolvers
from pipeline.storage.files import Json


def changed_settings(config: Config) -> Json:
    """Return the settings that results depend on and that differ from the defaults, by dotted key.

    The defaults are those of conf/config.yaml and of the chosen file of each group, such as conf/train/article.yaml.
    Its name is among the changes, as `train.name`, if conf/config.yaml or the data set chooses another file.
    """
    register_resolvers()
    settings = experiment_settings(config)
    chosen = {name: section["name"] for name, section in settings.items() if isinstance(section, dict)}
    # The file of a data set may change the settings of other groups.
    groups = sorted(chosen, key=lambda name: name == "dataset")
    base = OmegaConf.masked_copy(_file("config"), [name for name in settings if name not in chosen])
    defaults = OmegaConf.merge(base, *(_option(group, chosen[group]) for group in groups))
    unchanged = flat(OmegaConf.to_container(defaults, resolve=True))
    usual = _choices("config") | _choices(f"dataset/{chosen['dataset']}")
    unchanged |= {f"{group}.name": usual.get(group) for group in groups}
    return {key: value for key, value in flat(settings).items() if key not in unchanged or value != unchanged[key]}


def flat(settings: Any, prefix: str = "") -> Json:
    """Return the leaves of nested dictionaries, each by its keys joined with dots."""
    leaves: Json = {}
    for name, value in settings.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


@functools.cache
def _option(group: str, name: str) -> DictConfig:
    """Return the settings of an option of a group by section, with those of the options that it extends."""
    content = _file(f"{group}/{name}")
    others = [each for each in content.pop("defaults", []) if each != "_self_"]
    # Another option of the group stands there alone or as `<option>@<package>`, and one of another group as a mapping.
    earlier = [_option(group, each.partition("@")[0]) for each in others if isinstance(each, str)]
    # A file for several groups has a section for each.
    merged = OmegaConf.merge(*earlier, content if group in content else {group: content})
    assert isinstance(merged, DictConfig)
    return merged


def _choices(name: str) -> Json:
    """Return the options that a file chooses, by group."""
    entries = [each for each in _file(name).get("defaults", []) if not isinstance(each, str)]
    return {group.removeprefix("override /"): option for each in entries for group, option in each.items()}


def _file(name: str) -> DictConfig:
    content = OmegaConf.load(CONF / f"{name}.yaml")
    assert isinstance(content, DictConfig)
    return content
