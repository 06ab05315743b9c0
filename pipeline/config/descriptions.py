"""Descriptions of the configuration's keys for people: meaning, allowed values, and default from conf/."""

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import typing
from dataclasses import dataclass
from itertools import pairwise

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config
from pipeline.config.compose import CONF, composed, register_resolvers
from pipeline.config.validate import expected_values, section_of


@dataclass(frozen=True)
class Defaults:
    """Default values of all keys."""

    raw: DictConfig
    """Configuration with interpolations."""
    resolved: DictConfig
    """Configuration with values."""

    @classmethod
    def read(cls) -> "Defaults":
        """Compose the defaults from conf/, without params.yaml."""
        register_resolvers()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            raw = compose("config")
        return cls(raw, composed([]))

    def of(self, name: str) -> str:
        """Return the default of a key as text."""
        value = OmegaConf.select(self.resolved, name)
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        return value if isinstance(value, str) else json.dumps(value)

    def source(self, name: str) -> str:
        """Return the key whose value is the default of a key, `computed` for several, or an empty text for none."""
        section, _, leaf = name.rpartition(".")
        node = OmegaConf.select(self.raw, section)._get_node(leaf) if section else self.raw._get_node(leaf)
        if not node._is_interpolation():
            return ""
        simple = re.fullmatch(r"\$\{([\w.]+)\}", node._value())
        return simple[1] if simple else "computed"


@dataclass(frozen=True)
class Key:
    """Description of a key."""

    name: str
    meaning: str
    allowed: str


def sections() -> dict[str, type]:
    """Return the dataclass of each section of the configuration."""
    return {key.name: section for key in dataclasses.fields(Config) if (section := section_of(key))}


def keys_of(section: type, prefix: str = "") -> list[Key]:
    """Return the keys of a section and of the sections in it; of the top level, only its own keys."""
    meanings, found = attribute_docstrings(section), []
    for key in dataclasses.fields(section):
        name, nested = prefix + key.name, section_of(key)
        if nested is None:
            found.append(Key(name, meanings[key.name], expected_values(key)))
        elif section is not Config:
            found += keys_of(nested, f"{name}.")
    return found


def all_keys() -> dict[str, Key]:
    """Return all keys by name."""
    nested = [key for name, section in sections().items() for key in keys_of(section, f"{name}.")]
    return {key.name: key for key in (*keys_of(Config), *nested)}


def attribute_docstrings(section: type) -> dict[str, str]:
    """Return the attribute docstrings of a dataclass and its base classes by name, each on one line."""
    found: dict[str, str] = {}
    for each in reversed(section.__mro__):
        if dataclasses.is_dataclass(each):
            [tree] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            body = typing.cast(ast.ClassDef, tree).body
            for statement, following in pairwise(body):
                if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
                    text = str(typing.cast(ast.Constant, following.value).value)
                    found[typing.cast(ast.Name, statement.target).id] = " ".join(text.split())
    return found
