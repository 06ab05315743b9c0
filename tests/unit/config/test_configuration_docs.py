"""The generated documentation and JSON Schema of the configuration."""

import json
import re

import jsonschema
import pytest
import yaml

from pipeline.config.compose import CONF
from pipeline.config.validate import known_keys
from tools import configuration_docs

SCHEMA = json.loads(configuration_docs.SCHEMA.read_text())
FILES = sorted([CONF / "config.yaml", *CONF.glob("*/*.yaml")])


def schema_of(file) -> dict:
    """The schema that an editor finds by the file's header."""
    [header] = [line for line in file.read_text().splitlines() if line.startswith("# yaml-language-server: $schema=")]
    path, _, fragment = header.partition("=")[2].partition("#")
    assert (file.parent / path).resolve() == configuration_docs.SCHEMA
    return SCHEMA | {"$ref": f"#{fragment}"} if fragment else SCHEMA


def is_valid(content: dict, schema: dict) -> bool:
    return jsonschema.Draft7Validator(schema).is_valid(content)


def test_the_generated_files_are_up_to_date():
    assert not configuration_docs.outdated_files(), "run python -m tools.configuration_docs"


def test_every_key_is_described():
    page = configuration_docs.PAGE.read_text()
    sections = {key.rpartition(".")[0] for key in known_keys()}
    assert all(f"| `{key}` | " in page for key in set(known_keys()) - sections)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_shipped_file_agrees_with_its_schema(file):
    # YAML 1.2, as editors read it, has 1e-4 as a number; this loader reads a text.
    content = yaml.safe_load(re.sub(r"\b(\d)e-", r"\1.0e-", file.read_text()))
    errors = jsonschema.Draft7Validator(schema_of(file)).iter_errors(content)
    assert not [error.message for error in errors]


def test_wrong_keys_and_values_are_found():
    train = schema_of(CONF / "train" / "default.yaml")
    assert is_valid({"epochs": 3, "learning_rate": "${backbone.learning_rate}"}, train)
    for wrong in ({"epocs": 3}, {"epochs": 0}, {"optimizer": "adamm"}, {"class_weight": {"a": 0}}, {"epochs": "many"}):
        assert not is_valid(wrong, train)
