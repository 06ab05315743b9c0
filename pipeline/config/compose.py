"""How a configuration comes about: conf/ < params.yaml < the command line."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Config
from pipeline.config.validate import check, find_problems, invalid, known_keys, unknown
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE

CONF = CODE / "conf"
PARAMS = CODE / "params.yaml"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "hydra"
}

_OVERRIDE = re.compile(r"^([+~]*)([A-Za-z_][\w./@:-]*)(=|$)")
_DICT_KEY, _ESCAPED = re.compile(r"([\\()\[\]{}:=, \t])"), r"\\\1"


def is_override(argument: str) -> bool:
    """Whether a command-line argument is one of Hydra's overrides (`key=value`, `+key=value`, `~key`), not an option."""
    match = _OVERRIDE.match(argument)
    return bool(match) and (match[3] == "=" or match[1].startswith("~"))


def with_params(overrides: Sequence[str]) -> list[str]:
    """The whole list of overrides: those of params.yaml, then the given ones, of which Hydra lets the later win.

    A group chosen in `overrides` discards what params.yaml says under it; an experiment, in either place, discards all but `dataset`.

    Raises:
        PipelineError: params.yaml is not YAML, or not a mapping.
    """
    params = _read_params()
    if "experiment=null" in overrides:
        params["experiment"] = None
    given = [_normalise_override(override) for override in overrides if override != "experiment=null"]
    chosen = {override.split("=")[0].lstrip("+") for override in given}
    if "experiment" in chosen:
        params["experiment"] = None
    if "experiment" in chosen or params.get("experiment"):
        kept = {key: params[key] for key in ("experiment", "dataset") if params.get(key)}
        _report_ignored_params({key: value for key, value in params.items() if key not in kept})
        params = kept
    for group in chosen & set(GROUPS):
        params.pop(group, None)
    return [override for key, value in params.items() for override in _as_overrides(key, value)] + given


def composed(overrides: Sequence[str]) -> DictConfig:
    """The composed, resolved configuration of complete `overrides` (see `with_params`); not yet checked.

    Raises:
        PipelineError: Hydra or OmegaConf refuses them.
    """
    register_resolvers()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", overrides=list(overrides))
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise invalid([" ".join(str(error).split())]) from error
    return cfg


def configuration(overrides: Sequence[str] = ()) -> Config:
    """The checked configuration of this checkout with `overrides` on top."""
    overrides = with_params(overrides)
    check_choices(overrides)
    return check(composed(overrides))


def check_choices(overrides: Sequence[str]) -> None:
    """Check all that a command will run before it runs any of it; each value of a sweep is tried once, with the others' first.

    Raises:
        PipelineError: with every problem at once.
    """
    parser, parsed = OverridesParser.create(), []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
        except HydraException as error:
            raise invalid(
                [f"{override}: is no override that Hydra understands ({str(error).splitlines()[0]})"]
            ) from error
    parsed = [each for each in parsed if not each.key_or_group.startswith("hydra")]
    problems: list[str] = []
    choices: list[list[str]] = []
    for each in parsed:
        values = _values(each)
        wrong = [value for value in values if _unknown_option(each, value)]
        problems += [_unknown_option(each, value) for value in wrong]
        choices.append(
            [each.input_line.split("=", 1)[0] + "=" + value for value in values if value not in wrong]
            if values
            else [each.input_line]
        )
    first = [options[0] for options in choices if options]
    trials = [first] + [
        [*(o[0] for o in choices[:index] if o), option, *(o[0] for o in choices[index + 1 :] if o)]
        for index, options in enumerate(choices)
        for option in options[1:]
    ]
    for trial in trials:
        try:
            problems += find_problems(composed(trial))
        except PipelineError as error:
            problems += [line.removeprefix("  - ") for line in str(error).splitlines()[1:]]
    if problems:
        raise invalid(problems)


def register_resolvers() -> None:
    """The functions that conf/ calls in `${...}`."""
    OmegaConf.register_new_resolver(
        "first_of", lambda *values: next((v for v in values if v is not None), None), replace=True
    )
    OmegaConf.register_new_resolver("at_least", _at_least, replace=True)


def _at_least(least: Any, value: Any) -> Any:
    # What is no number is told by the validation.
    return max(least, value) if isinstance(least, int) and isinstance(value, int) else value


def from_hydra(cfg: DictConfig) -> Config:
    """The checked configuration of a job that Hydra has composed."""
    plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    OmegaConf.resolve(plain)
    return check(plain)


def _values(override: Override) -> list[str]:
    """The values that an override will take, as texts: several in a sweep, none where it deletes."""
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


def _unknown_option(override: Override, value: str) -> str | None:
    group = override.key_or_group
    if group not in GROUPS or (value in (*GROUPS[group], "null") and (group == "experiment" or value != "null")):
        return None
    return f"{group}={unknown(f'file in conf/{group}/', value, GROUPS[group])} There are: {', '.join(GROUPS[group])}"


def _normalise_override(override: str) -> str:
    """`group.name=x` means `group=x`; an unknown key is let through (`++`), so that the check names it among all other problems."""
    match = _OVERRIDE.match(override)
    if not match:
        raise PipelineError(
            f"params.yaml: {override.split('=')[0]!r} is no key; keys are made of letters, digits and _"
        )
    prefix, key, _ = match.groups()
    group, _, leaf = key.partition(".")
    if leaf == "name" and group in GROUPS:
        return override.replace(f"{key}=", f"{group}=", 1)
    outside = key.startswith("hydra") or "/" in key or "@" in key or key in GROUPS
    if not prefix and not outside and key not in known_keys():
        return "++" + override
    return override


def _read_params() -> dict[str, Any]:
    try:
        params = OmegaConf.to_container(OmegaConf.load(PARAMS)) if PARAMS.exists() else {}
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise PipelineError(f"params.yaml can't be read: {error}") from error
    if not isinstance(params, dict):
        raise PipelineError(f"params.yaml holds {params!r}; it takes keys with values, such as `seed: 1`")
    return params


def _as_overrides(key: str, value: Any) -> Iterable[str]:
    """Overrides that say what params.yaml says under `key`; null says nothing, but an unknown key is passed on to be named."""
    if value is None and (key in known_keys() or key in GROUPS):
        return
    leaf = key in known_keys() and not any(known.startswith(f"{key}.") for known in known_keys())
    if leaf or not isinstance(value, dict):
        yield f"{key}={value}" if key in GROUPS else _normalise_override(f"{key}={quoted(value)}")
        return
    if key in GROUPS and value.get("name") is not None:
        yield f"{key}={value['name']}"
    for leaf, leaf_value in value.items():
        if not (key in GROUPS and leaf == "name"):
            yield from _as_overrides(f"{key}.{leaf}", leaf_value)


def quoted(value: Any) -> str:
    """`value` in the grammar of Hydra's overrides."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", r"\'")
        return f"'{escaped}'"
    if isinstance(value, list):
        return "[" + ",".join(quoted(item) for item in value) + "]"
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{_DICT_KEY.sub(_ESCAPED, str(key))}:{quoted(item)}" for key, item in value.items()) + "}"
        )
    return "null" if value is None else repr(value)


def quote_literally(text: str) -> str:
    """As `quoted`, for a text that is taken as it stands: what looks like a reference to another setting is none."""
    return quoted(re.sub(r"(\\*)\$\{", r"\1\1\\${", text))


def _report_ignored_params(params: dict[str, Any]) -> None:
    said = [override for key, value in params.items() for override in _as_overrides(key, value)]
    if said:
        print(f"An experiment is chosen: set aside from params.yaml: {' '.join(said)}", file=sys.stderr)
