"""Texts in overrides that Hydra's grammar would refuse or change: paths and other free texts, and names of classes."""

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config
from pipeline.system.paths import resolve

NAMED = ("train.class_weight", "finetune.class_weight", "finetune.rate_factors")
"""Keys whose values may be mappings from names, which are texts even if they look like numbers."""

_DICT_KEY, _ESCAPED = re.compile(r"([\\()\[\]{}:=, \t])"), r"\\\1"
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_MAPPING = re.compile(rf"\{{(?:{_QUOTED}|\\.|[^{{}}\\])*\}}")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# A name may contain any character, since a number and a comma follow it.
_PAIR = re.compile(rf"\s*(?P<name>{_QUOTED}|(?:\\.|[^\\])+?)\s*:\s*(?P<number>{_NUMBER})\s*(?:,|$)")
_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")


def free_texts(section: type = Config, prefix: str = "") -> Iterator[str]:
    """Yield the keys whose values are free texts, such as paths."""
    for each in dataclasses.fields(section):
        if dataclasses.is_dataclass(each.type):
            yield from free_texts(each.type, f"{prefix}{each.name}.")  # type: ignore[arg-type]
        elif each.type in (str, str | None) and "enum" not in each.metadata.get("schema", {}):
            yield prefix + each.name


_FREE = {*free_texts(), "hydra.run.dir", "hydra.sweep.dir"}


def literal(override: str) -> str:
    """Return an override whose value reaches the configuration as the user wrote it.

    A comma separates the values of a sweep, unless the whole value is an existing path.

    Args:
        override: `key=value`, as on the command line.
    """
    key, _, value = override.partition("=")
    name = key.lstrip("+")
    if name in NAMED and not value.startswith(("'", '"')):
        return f"{key}={_MAPPING.sub(_as_json, value)}"
    if name not in _FREE:
        return override
    value = _VARIABLE.sub(lambda match: f"${{oc.env:{match[1]}}}" if match[1] in os.environ else match[0], value)
    return f"{key}={value if _is_read_as_text(key, value) else quoted(value)}"


def _is_read_as_text(key: str, value: str) -> bool:
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        return False
    if parsed.is_sweep_override():
        return not resolve(value).exists()
    return parsed.value() is None or isinstance(parsed.value(), str)


def _as_json(match: re.Match[str]) -> str:
    names = _pairs(match[0])
    return match[0] if names is None else quote_literally(json.dumps(names, ensure_ascii=False))


def _pairs(text: str) -> dict[str, Any] | None:
    """Read `{name: number, ...}` with names of any kind; return None if the text has another form."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    inner, pairs, place = text.strip()[1:-1], {}, 0
    while place < len(inner):
        match = _PAIR.match(inner, place)
        if not match:
            return None
        name, number, place = match["name"], match["number"], match.end()
        if re.fullmatch(_QUOTED, name):
            name = re.sub(r"\\([\\'\"])", r"\1", name[1:-1])
        else:
            name = re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", name)
        pairs[name] = int(number) if re.fullmatch(r"[-+]?\d+", number) else float(number)
    return pairs


def name_as_text(cfg: DictConfig) -> None:
    """Replace, in place, the mappings at the keys `NAMED` with mappings whose keys are texts."""
    for key in NAMED:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value.startswith("{") and (pairs := _pairs(value)) is not None:
            OmegaConf.update(cfg, key, pairs, merge=False)
        elif isinstance(value, DictConfig):
            texts = {_name(name): each for name, each in OmegaConf.to_container(value).items()}
            OmegaConf.update(cfg, key, texts, merge=False)


def _name(key: object) -> str:
    # Hydra reads the unquoted names true and null as values.
    return str(key).lower() if isinstance(key, bool) else "null" if key is None else str(key)


def with_text_keys(text: str) -> str:
    """Return a YAML text in which all keys are quoted, so that none is read as a number or as true.

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return ""
    _quote_keys(node)
    return yaml.serialize(node, allow_unicode=True)


def _quote_keys(node: yaml.Node) -> None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            key.tag = "tag:yaml.org,2002:str"
        _quote_keys(value)
    for value in node.value if isinstance(node, yaml.SequenceNode) else []:
        _quote_keys(value)


def command(override: str) -> str:
    """Return the word to type in a shell for an override whose value is one text."""
    key, _, value = override.partition("=")
    text = f"{key}={quoted(value)}"
    # Double quotes are easier to read, but a shell replaces some characters in them.
    return f'"{text}"' if not re.search(r'[\\"$`!]', text) else shlex.quote(text)


def quoted_at(key: str, value: object) -> str:
    """Return the value of a key as text in Hydra's grammar, which has no names with letters beyond ASCII or quotes."""
    named = key in NAMED and isinstance(value, Mapping)
    return quote_literally(json.dumps(value, ensure_ascii=False)) if named else quoted(value)


def quoted(value: object) -> str:
    """Return `value` as text in the grammar of Hydra's overrides."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", r"\'")
        return f"'{escaped}'"
    if isinstance(value, list):
        return "[" + ",".join(quoted(item) for item in value) + "]"
    if isinstance(value, Mapping):
        items = [f"{_DICT_KEY.sub(_ESCAPED, str(key))}:{quoted(item)}" for key, item in value.items()]
        return "{" + ",".join(items) + "}"
    return "null" if value is None else repr(value)


def quote_literally(text: str) -> str:
    """Quote a text so that `${...}` in it is not an interpolation."""
    return quoted(re.sub(r"(\\*)\$\{", r"\1\1\\${", text))
