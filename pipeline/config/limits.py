"""Limits of configuration values: each as a check, in words for error messages, and as JSON Schema."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

_BOUNDS = {
    "minimum": (operator.ge, ">="),
    "exclusiveMinimum": (operator.gt, ">"),
    "maximum": (operator.le, "<="),
    "exclusiveMaximum": (operator.lt, "<"),
}


# These functions stand on the right of `key: type = ...`, so they return Any, as dataclasses.field itself does.
def limited(expected: str, holds: Callable[[Any], bool], schema: dict[str, Any]) -> Any:
    """Declare a field whose values must satisfy `holds`; for the arguments see `limit`."""
    return field(metadata=limit(expected, holds, schema))


def limit(expected: str, holds: Callable[[Any], bool], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a limit as the metadata of a field.

    Args:
        expected: the allowed values in words.
        holds: checks a value that has the field's type; null only where that is `Any`.
        schema: the same limit as JSON Schema keywords.
    """
    return {"expected": expected, "holds": holds, "schema": schema}


def bounded(**bounds: float) -> Any:
    """Declare a finite number within bounds, which are named as in JSON Schema: minimum, exclusiveMaximum, ..."""

    def holds(value: float) -> bool:
        return math.isfinite(value) and all(_BOUNDS[name][0](value, bound) for name, bound in bounds.items())

    words = " and ".join(f"{_BOUNDS[name][1]} {bound}" for name, bound in bounds.items())
    return field(metadata={"range": words, "holds": holds, "schema": bounds})


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
    return limited(f"one of {', '.join(choices)}", lambda value: value in choices, {"enum": list(choices)})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def _is_class_weight(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_number(weight) and weight > 0 for weight in value.values())
    return value in ("none", "balanced")


def _is_rate_factors(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and _is_number(factor) and factor >= 0 for name, factor in value.items())
    )


def _are_inner_fractions(value: Any) -> bool:
    return value is None or (_is_list(value) and all(_is_number(each) and 0 < each < 1 for each in value))


_ROUND_KEYS: dict[str, Callable[[Any], bool]] = {
    "unfreeze": lambda value: isinstance(value, str | int) and value != "",
    "epochs": lambda value: isinstance(value, int) and value >= 1,
    "learning_rate": lambda value: _is_number(value) and value > 0,
    "image_size": lambda value: isinstance(value, int) and value >= 1,
}


def _are_rounds(value: Any) -> bool:
    return value is None or (_is_list(value) and all(map(_is_round, value)))


def _is_round(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(key in _ROUND_KEYS and _ROUND_KEYS[key](each) for key, each in value.items())
    )


CLASS_WEIGHT = limit(
    "none, balanced, or {<class>: <number > 0>, ...}",
    _is_class_weight,
    {
        "anyOf": [
            {"enum": ["none", "balanced"]},
            {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
        ]
    },
)
RATE_FACTORS = limit(
    "null, or {<block, head or stem>: <number >= 0>, ...}",
    _is_rate_factors,
    {"type": ["object", "null"], "additionalProperties": {"type": "number", "minimum": 0}},
)
INNER_FRACTIONS = limit(
    "null, or a list of numbers > 0 and < 1, such as [0.25, 0.5, 0.75]",
    _are_inner_fractions,
    {
        "type": ["array", "null"],
        "minItems": 1,
        "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    },
)
ROUNDS = limit(
    "null, or a list of {unfreeze, epochs, learning_rate, image_size} with at least one key each, such as "
    "[{unfreeze: -1, epochs: 2}, {unfreeze: all, epochs: 6, learning_rate: 3e-4}]",
    _are_rounds,
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
                "image_size": {"type": "integer", "minimum": 1},
            },
        },
    },
)
