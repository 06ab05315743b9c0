"""Compose a configuration: the command line overrides params.yaml, which overrides conf/."""

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Config
from pipeline.config.size import squares_as_numbers
from pipeline.config.texts import command, literal, name_as_text, quoted_at, with_text_keys
from pipeline.config.validate import ConfigError, check, known_keys, unknown
from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE
from pipeline.system.wording import some

CONF = CODE / "conf"
PARAMS = CODE / "params.yaml"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "hydra"
}

# Keys and groups that decide which network is trained, and from which layer on.
_NETWORK = {
    *("experiment", "backbone", "backbone.weights", "backbone.constructor", "backbone.preset", "backbone.pooling"),
    "image_size",
    *("finetune", "finetune.unfreeze", "finetune.phases", "finetune.rate_factors", "finetune.lora_rank"),
}
# Number of options that an error names; conf/ has more backbones.
_LISTED = 12
_OVERRIDE = re.compile(r"^([+~]*)([A-Za-z_][\w./@:-]*)(=|$)")


def is_override(argument: str) -> bool:
    """Return whether a command-line argument is a Hydra override (`key=value`, `+key=value` or `~key`)."""
    match = _OVERRIDE.match(argument)
    return match is not None and (match[3] == "=" or match[1].startswith("~"))


def with_params(overrides: Sequence[str]) -> list[str]:
    """Return all overrides: those of params.yaml, then `overrides`, which have priority in Hydra.

    A group chosen in `overrides` replaces its settings in params.yaml. An experiment, chosen in either place, replaces
    all settings in params.yaml except `dataset`.

    Raises:
        PipelineError: The file params.yaml is not YAML, or not a mapping.
    """
    params = read_params()
    later = [literal(_normalise_override(each)) for each in overrides if each != "experiment=null"]
    chosen = {override.split("=")[0].lstrip("+") for override in later}
    if "experiment" in chosen or "experiment=null" in overrides:
        params["experiment"] = None
    if "experiment" in chosen or params.get("experiment"):
        used = {key: params[key] for key in ("experiment", "dataset") if params.get(key)}
        unused = (pair for pair in params.items() if pair[0] not in used)
        if ignored := [override for key, value in unused for override in _as_overrides(key, value)]:
            print(f"experiment=... replaces these settings of params.yaml: {' '.join(ignored)}", file=sys.stderr)
        params = used
    for group in chosen & set(GROUPS):
        params.pop(group, None)
    return [override for key, value in params.items() for override in _as_overrides(key, value)] + later


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose and resolve a configuration from all overrides (see `with_params`), without checking it.

    Raises:
        ConfigError: Hydra or OmegaConf rejects an override.
    """
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", overrides=list(overrides))
        _resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([" ".join(str(error).split())]) from error
    return cfg


def configuration(overrides: Sequence[str] = ()) -> Config:
    """Return the checked configuration of this checkout with `overrides` applied."""
    return checked_trials(with_params(overrides))[0]


def checked_trials(overrides: Sequence[str]) -> list[Config]:
    """Check a command before any of its jobs runs, and return the configurations of `sweep_trials`.

    Raises:
        ConfigError: A configuration is invalid; the error lists the problems of all configurations.
    """
    parsed, configs = _parse(overrides), []
    problems = [problem for each in parsed for value in _values(each) if (problem := _unknown_option(each, value))]
    for trial in sweep_trials(parsed):
        try:
            configs.append(check(composed(trial)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return configs


def check_single(overrides: Sequence[str]) -> None:
    """Check that no override has several values, for a command that runs one job.

    Raises:
        ConfigError: An override is a sweep.
    """
    several = [each.input_line or "" for each in _parse(overrides) if each.is_sweep_override()]
    if several:
        raise ConfigError(
            f"{each}: has several values; add -m to run one job for each, or type {command(each)} for one text"
            for each in several
        )


def sweep_trials(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Yield lists of overrides without sweeps, which together contain each value of each sweep.

    At most one sweep per list has another value than its first. Unknown options of a group are left out.
    """
    choices = [options for each in overrides if (options := _single_overrides(each))]
    first = [options[0] for options in choices]
    yield first
    for index, options in enumerate(choices):
        for option in options[1:]:
            yield [*first[:index], option, *first[index + 1 :]]


def network_configurations(overrides: Sequence[str]) -> list[Config]:
    """Return a configuration for each combination of the values that decide which network is trained, and how deep.

    Args:
        overrides: All overrides of a command, which `checked_trials` has accepted; sweeps over other keys have their
            first value.
    """
    choices = []
    for each in _parse(overrides):
        options = _single_overrides(each)
        choices.append(options if each.key_or_group in _NETWORK else options[:1])
    found = []
    for trial in itertools.product(*choices):
        # Values that are valid individually may not be together, which the job reports.
        with suppress(ConfigError):
            found.append(check(composed(trial)))
    return found


def _parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides, and omit those of Hydra's own settings."""
    parser = OverridesParser.create()
    parsed = []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
        except HydraException as error:
            problem = f"{override}: is not a valid Hydra override; if its value is one text, type {command(override)}"
            raise ConfigError([problem]) from error
    return [each for each in parsed if not each.key_or_group.startswith("hydra")]


def register_resolvers() -> None:
    """Register the OmegaConf resolvers that conf/ uses in `${...}`."""
    OmegaConf.register_new_resolver(
        "first_of", lambda *values: next((v for v in values if v is not None), None), replace=True
    )
    OmegaConf.register_new_resolver("at_least", _at_least, replace=True)


def _at_least(least: object, value: object) -> object:
    if isinstance(value, ListConfig):
        # OmegaConf does not resolve an interpolation to a plain list.
        return OmegaConf.create([_at_least(least, side) for side in value])
    # Validation reports a value that is not a number.
    return max(least, value) if isinstance(least, int) and isinstance(value, int) else value


def _resolve(cfg: DictConfig) -> None:
    """Resolve interpolations in place, and write equal values in one way."""
    OmegaConf.resolve(cfg)
    name_as_text(cfg)
    squares_as_numbers(cfg)


def from_hydra(cfg: DictConfig) -> Config:
    """Return the checked configuration of a job from the one that Hydra composed."""
    plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    _resolve(plain)
    return check(plain)


def _values(override: Override) -> list[str]:
    """Return the values of an override as texts: several for a sweep, none for the deletion of a key."""
    if override.is_delete():
        return []
    if override.is_sweep_override():
        if override.is_choice_sweep() or override.is_range_sweep():
            return list(override.sweep_string_iterator())
        if override.is_interval_sweep():
            return [str(override.value().start), str(override.value().end)]
        if override.is_glob_sweep() and override.key_or_group in GROUPS:
            return override.value().filter(GROUPS[override.key_or_group])
        return []
    return [override.input_line.split("=", 1)[1]]


def _single_overrides(override: Override) -> list[str]:
    """Split an override into one override per value, and omit unknown values."""
    values = _values(override)
    if not values:
        return [override.input_line]
    key = override.input_line.split("=", 1)[0]
    return [f"{key}={value}" for value in values if not _unknown_option(override, value)]


def _unknown_option(override: Override, value: str) -> str | None:
    """Return an error message if a value is not an option of the override's group, else None."""
    group = override.key_or_group
    if group not in GROUPS or (value in (*GROUPS[group], "null") and (group == "experiment" or value != "null")):
        return None
    there = some(GROUPS[group], _LISTED)
    return f"{group}={unknown(f'file in conf/{group}/', value, GROUPS[group])} (available: {there})"


def _normalise_override(override: str) -> str:
    """Turn `group.name=x` into `group=x`, and add `++` to an unknown key, so that validation reports it."""
    match = _OVERRIDE.match(override)
    if not match:
        raise PipelineError(
            f"params.yaml: {override.split('=')[0]!r} is not a valid key; keys consist of letters, digits and _"
        )
    prefix, key, _ = match.groups()
    group, _, leaf = key.partition(".")
    if leaf == "name" and group in GROUPS:
        return override.replace(f"{key}=", f"{group}=", 1)
    outside = key.startswith("hydra") or "/" in key or "@" in key or key in GROUPS
    if not prefix and not outside and key not in known_keys():
        return "++" + override
    return override


def read_params() -> Json:
    """Read params.yaml; empty if there is none.

    Raises:
        PipelineError: The file is not YAML, or not a mapping.
    """
    try:
        text = with_text_keys(PARAMS.read_text(encoding="utf-8")) if PARAMS.exists() else ""
        params = OmegaConf.to_container(OmegaConf.create(text))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise PipelineError(f"params.yaml can't be read: {error}") from error
    if not isinstance(params, dict):
        raise PipelineError(f"params.yaml: invalid content {params!r}; expected keys with values, such as `seed: 1`")
    return params


def _as_overrides(key: str, value: object) -> Iterable[str]:
    """Yield the overrides for `key` in params.yaml; none if its value is null and the key is known."""
    if value is None and (key in known_keys() or key in GROUPS):
        return
    leaf = key in known_keys() and not any(known.startswith(f"{key}.") for known in known_keys())
    if leaf or not isinstance(value, dict):
        yield f"{key}={value}" if key in GROUPS else _normalise_override(f"{key}={quoted_at(key, value)}")
        return
    if key in GROUPS and value.get("name") is not None:
        yield f"{key}={value['name']}"
    for leaf, leaf_value in value.items():
        if not (key in GROUPS and leaf == "name"):
            yield from _as_overrides(f"{key}.{leaf}", leaf_value)
