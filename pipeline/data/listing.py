"""What a data set lists, wherever it comes from: images with their labels."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.system.errors import PipelineError

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
"""The names that splits go by."""


class LabelledImage(NamedTuple):
    """A file that is said to be an image of a class."""

    path: str
    """Relative to the data set's folder, with forward slashes."""
    label: str
    split: str | None
    """train, validation or test; None where the data set gives no splits."""
    group: str | None = None
    """What it must not be torn from by a split; None where nothing is said."""


@dataclass(frozen=True)
class Listing:
    """The images of a data set."""

    images: list[LabelledImage]
    """Sorted by path."""
    classes: list[str]
    """Sorted by name; those without an image among them."""
    left_out: dict[str, int]
    """Why other files were left out, and how many."""


def refuse_classes(where: str, names: list[str], home: str) -> None:
    """Raise what makes the training classes `names`, sorted, useless; they are read off each `home` (a folder, a row's label)."""
    if len(names) < 2:
        raise PipelineError(
            f"{where} holds one class only ({', '.join(names)}); a classifier needs two {home}s at least, one a class"
        )
    by_case: dict[str, str] = {}
    for name in names:
        twin = by_case.setdefault(name.casefold(), name)
        if twin != name:
            raise PipelineError(
                f"{where}: the classes {twin!r} and {name!r} differ only in case; rename or merge their {home}s"
            )
    unreadable = [name for name in names if not name.isprintable()]
    if unreadable:
        raise PipelineError(f"{where}: class names that can't be printed: {unreadable!a}; rename their {home}s")
