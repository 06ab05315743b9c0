"""Limits of configuration values, as JSON Schema and as text for error messages."""

import math
import operator
from collections.abc import Callable, Sized
from dataclasses import field
from types import NoneType
from typing import Any

from pipeline.storage.files import Json

_BOUNDS = {
    "minimum": (operator.ge, ">="),
    "exclusiveMinimum": (operator.gt, ">"),
    "maximum": (operator.le, "<="),
    "exclusiveMaximum": (operator.lt, "<"),
}
_TYPES = {"integer": int, "number": int | float, "string": str, "array": list, "object": dict, "null": NoneType}


def satisfies(value: Any, schema: Json) -> bool:
    """Return whether a value satisfies a JSON Schema with the keywords used in this module; numbers must be finite."""
    # Keywords are checked in their order, so that the type is checked before the bounds.
    if not all(_CHECKS[keyword](value, operand) for keyword, operand in schema.items() if keyword in _CHECKS):
        return False
    if isinstance(value, list):
        return all(satisfies(each, schema.get("items", {})) for each in value)
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        if others is False and not value.keys() <= properties.keys():
            return False
        names = schema.get("propertyNames", {})
        return all(
            satisfies(key, names) and satisfies(each, properties.get(key, others)) for key, each in value.items()
        )
    return True


def _has_type(value: object, names: str | list[str]) -> bool:
    # In Python, and not in JSON, true is an integer.
    return not isinstance(value, bool) and any(
        isinstance(value, _TYPES[name]) for name in ([names] if isinstance(names, str) else names)
    )


def _has_size(compare: Callable[[int, int], bool]) -> Callable[[object, int], bool]:
    return lambda value, size: not isinstance(value, Sized) or compare(len(value), size)


def _in_bound(compare: Callable[[float, float], bool]) -> Callable[[float, float], bool]:
    return lambda value, bound: math.isfinite(value) and compare(value, bound)


_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": _has_type,
    "enum": lambda value, options: value in options,
    "anyOf": lambda value, schemas: any(satisfies(value, schema) for schema in schemas),
    **dict.fromkeys(("minLength", "minItems", "minProperties"), _has_size(operator.ge)),
    "maxItems": _has_size(operator.le),
    **{keyword: _in_bound(compare) for keyword, (compare, _) in _BOUNDS.items()},
}


# These functions return Any, as dataclasses.field does, since they are assigned to fields of all types.
def limited(expected: str, schema: Json) -> Any:
    """Declare a field with a limit.

    Args:
        expected: Allowed values, as text for error messages.
        schema: Allowed values, as JSON Schema for a value of the field's type.
    """
    return field(metadata={"expected": expected, "schema": schema})


def bounded(**bounds: float) -> Any:
    """Declare a finite number within bounds, named as in JSON Schema: minimum, exclusiveMaximum, ..."""
    words = " and ".join(f"{_BOUNDS[name][1]} {bound}" for name, bound in bounds.items())
    return field(metadata={"range": words, "schema": bounds})


def at_least(low: float) -> Any:
    """Declare a number of at least `low`."""
    return bounded(minimum=low)


def above(low: float) -> Any:
    """Declare a number above `low`."""
    return bounded(exclusiveMinimum=low)


def between(low: float, high: float) -> Any:
    """Declare a number strictly between `low` and `high`."""
    return bounded(exclusiveMinimum=low, exclusiveMaximum=high)


def fraction() -> Any:
    """Declare a number of at least 0 and below 1."""
    return bounded(minimum=0, exclusiveMaximum=1)


def positive_fraction() -> Any:
    """Declare a number above 0 and of at most 1."""
    return bounded(exclusiveMinimum=0, maximum=1)


def one_of(*choices: str) -> Any:
    """Declare a text that is one of `choices`."""
    return limited(f"one of {', '.join(choices)}", {"enum": list(choices)})


CLASS_WEIGHT = limited(
    "none, balanced, or {<class>: <number > 0>, ...}",
    {
        "anyOf": [
            {"enum": ["none", "balanced"]},
            {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
        ]
    },
)
_LEVEL = {"type": "integer", "minimum": 0, "maximum": 255}
PAD_VALUE = limited(
    "an integer >= 0 and <= 255, or a list of three, such as [124, 116, 104]",
    {"anyOf": [_LEVEL, {"type": "array", "minItems": 3, "maxItems": 3, "items": _LEVEL}]},
)
RATE_FACTORS = limited(
    "null, or {<block, head or stem>: <number >= 0>, ...}",
    {
        "type": ["object", "null"],
        "propertyNames": {"type": "string"},
        "additionalProperties": {"type": "number", "minimum": 0},
    },
)
INNER_FRACTIONS = limited(
    "null, or a list of numbers > 0 and < 1, such as [0.25, 0.5, 0.75]",
    {
        "type": ["array", "null"],
        "minItems": 1,
        "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    },
)
_SIDE = {"type": "integer", "minimum": 1}
_SIZE = {"anyOf": [_SIDE, {"type": "array", "minItems": 2, "maxItems": 2, "items": _SIDE}]}
_SIZE_WORDS = "an integer >= 1, or [height, width], such as [160, 320]"
SIZE = limited(_SIZE_WORDS, _SIZE)
SIZE_OR_NULL = limited(f"{_SIZE_WORDS}, or null", {"anyOf": [{"type": "null"}, *_SIZE["anyOf"]]})
ROUNDS = limited(
    "null, or a list of {unfreeze, epochs, learning_rate, image_size} with at least one key each, such as "
    "[{unfreeze: -1, epochs: 2}, {unfreeze: all, epochs: 6, learning_rate: 3e-4}]",
    {
        "type": ["array", "null"],
        "minItems": 1,
        "items": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {
                "unfreeze": {"type": ["integer", "string"], "minLength": 1},
                "epochs": {"type": "integer", "minimum": 1},
                "learning_rate": {"type": "number", "exclusiveMinimum": 0},
                "image_size": _SIZE,
            },
        },
    },
)
