"""Limits of configuration values: field types with their allowed range in words."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any


def _limited(allowed: str, holds: Callable[[Any], bool]):
    return field(metadata={"allowed": allowed, "holds": holds})


def _at_least(low: float):
    return _limited(f"at least {low}", lambda value: math.isfinite(value) and value >= low)


def _above(low: float):
    return _limited(f"a number above {low}", lambda value: math.isfinite(value) and value > low)


def _between(low: float, high: float):
    return _limited(f"above {low} and below {high}", lambda value: low < value < high)


def _share():
    return _limited("at least 0 and below 1", lambda value: 0 <= value < 1)


def _positive_fraction():
    return _limited("above 0 and at most 1", lambda value: 0 < value <= 1)


def _one_of(*choices: str):
    return field(metadata={"choices": " | ".join(choices), "holds": lambda value: value in choices})


def _is_class_weight(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value in ("none", "balanced")
    return all(isinstance(weight, int | float) and 0 < weight < math.inf for weight in value.values())


def _is_factors(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and all(
            isinstance(name, str) and isinstance(factor, int | float) and 0 <= factor < math.inf
            for name, factor in value.items()
        )
    )


_PHASE_KEYS = {
    "unfreeze": lambda value: isinstance(value, str | int) and value != "",
    "epochs": lambda value: isinstance(value, int) and value >= 1,
    "learning_rate": lambda value: isinstance(value, int | float) and 0 < value < math.inf,
    "image_size": lambda value: isinstance(value, int) and value >= 1,
}


def _are_inner_shares(value: Any) -> bool:
    return value is None or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(share, int | float) and 0 < share < 1 for share in value)
    )


def _are_phases(value: Any) -> bool:
    return value is None or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(
            isinstance(phase, Mapping)
            and phase
            and all(key in _PHASE_KEYS and _PHASE_KEYS[key](given) for key, given in phase.items())
            for phase in value
        )
    )
