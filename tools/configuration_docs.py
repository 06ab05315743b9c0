"""Generate docs/configuration.md and conf/schema.json from the docstrings in `pipeline.config`.

Run it with `python -m tools.configuration_docs`. With `--check`, it writes nothing, and the exit status is 1 if a file
is out of date.
"""

import argparse
import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.config.compose import CONF, GROUPS
from pipeline.config.descriptions import Defaults, Key, attribute_docstrings, keys_of, sections
from pipeline.config.validate import section_of
from pipeline.system.paths import CODE

PAGE = CODE / "docs" / "configuration.md"
SCHEMA = CONF / "schema.json"
MARKER = (
    "<!-- Generated from here on by `python -m tools.configuration_docs`: edit the docstrings in pipeline/config. -->"
)
_JSON_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", types.NoneType: "null"}
_INTERPOLATION = {"type": "string", "pattern": r"\$\{.*\}"}


def main() -> None:
    """Write docs/configuration.md and conf/schema.json, or check whether they are up to date."""
    parser = argparse.ArgumentParser(prog="python -m tools.configuration_docs", description=main.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; the exit status is 1 if a file is out of date"
    )
    args = parser.parse_args()
    outdated = outdated_files()
    if args.check:
        sys.exit(
            f"out of date: {', '.join(map(str, outdated))}; run python -m tools.configuration_docs" if outdated else 0
        )
    for file, text in outdated.items():
        file.write_text(text, encoding="utf-8")


def outdated_files() -> dict[Path, str]:
    """Return the new content of each file that is out of date."""
    hand_written = PAGE.read_text(encoding="utf-8").partition(MARKER)[0] if PAGE.exists() else "# Configuration\n\n"
    texts = {
        PAGE: f"{hand_written}{MARKER}\n\n{reference()}",
        SCHEMA: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }
    return {file: text for file, text in texts.items() if not file.exists() or file.read_text(encoding="utf-8") != text}


def reference() -> str:
    """Return tables of all keys with their meaning, allowed values, and default from conf/, as Markdown."""
    defaults = Defaults.read()
    parts = ["## Top level\n\n" + _table(keys_of(Config), defaults)]
    for name, section in sections().items():
        choice = ""
        if name in GROUPS:
            options = ", ".join(f"`{option}`" for option in GROUPS[name])
            choice = f"Options of `{name}=`: {options}. Default: `{defaults.of(f'{name}.name')}`.\n\n"
        parts.append(
            f"## {name}\n\n{inspect.getdoc(section)}\n\n{choice}" + _table(keys_of(section, f"{name}."), defaults)
        )
    return "\n".join(parts)


def _table(keys: Iterable[Key], defaults: Defaults) -> str:
    rows = ["| key | meaning | allowed values | default |", "| --- | --- | --- | --- |"]
    for key in keys:
        cells = (f"`{key.name}`", key.meaning, key.allowed, _default(key.name, defaults))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _default(name: str, defaults: Defaults) -> str:
    """Return the default of a key, and the key from which it is interpolated, if any."""
    shown, source = f"`{defaults.of(name)}`", defaults.source(name)
    return {"": shown, "computed": f"{shown}, computed"}.get(source, f"{shown}, from `{source}`")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of conf/, with the schema of each group under `definitions`."""
    groups = {
        name: _section_schema(section, inspect.getdoc(section), {"defaults": {"type": "array"}})
        for name, section in sections().items()
    }
    more = {
        "defaults": {"type": "array"},
        "hydra": {"type": "object"},
        **{name: {"$ref": f"#/definitions/{name}"} for name in groups},
    }
    whole = _section_schema(Config, inspect.getdoc(Config), more)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **whole, "definitions": groups}


def _section_schema(section: type, description: str | None, more: dict[str, Any]) -> dict[str, Any]:
    texts = attribute_docstrings(section)
    own = {key.name: _key_schema(key, texts[key.name]) for key in dataclasses.fields(section) if key.name not in more}
    properties = {"properties": more | own, "additionalProperties": False}
    return {"description": description, "type": "object", **properties}


def _key_schema(key: dataclasses.Field, description: str) -> dict[str, Any]:
    if section := section_of(key):
        return _section_schema(section, description, {})
    limits = dict(key.metadata.get("schema", {}))
    if key.type is not Any and "enum" not in limits:
        names = [_JSON_TYPES[each] for each in typing.get_args(key.type) or (key.type,)]
        limits = {"type": names[0] if len(names) == 1 else names} | limits
    if limits.get("type") != "string":
        limits = {"anyOf": [limits, _INTERPOLATION]}
    return {"description": description} | limits


if __name__ == "__main__":
    main()
