"""The images that a data set lists, with their labels, wherever it comes from."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.system.errors import PipelineError

SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
"""Names of splits in data sets, and the split that each means."""


class LabelledImage(NamedTuple):
    """A file that the data set lists as an image of a class."""

    path: str
    """Path relative to the data set's folder, with forward slashes."""
    label: str
    """Name of its class."""
    split: str | None
    """train, validation or test; None where the data set has no splits."""
    group: str | None = None
    """Group of images that must stay in one split; None where the data set has no groups."""


@dataclass(frozen=True)
class Listing:
    """The images of a data set."""

    images: list[LabelledImage]
    """Sorted by path."""
    classes: list[str]
    """Sorted by name, including classes without an image."""
    left_out: dict[str, int]
    """Number of other files by the reason why they were left out."""


def check_classes(where: str, names: list[str], home: str) -> None:
    """Check that training classes are distinct and readable.

    Args:
        where: the data set, for error messages.
        names: the classes, sorted.
        home: what a class is read from: sub-folder or row.

    Raises:
        PipelineError: fewer than two classes, names that differ only in case, or names that can't be printed.
    """
    if len(names) < 2:
        raise PipelineError(
            f"{where} has only one class ({', '.join(names)}); a classifier needs at least two {home}s, one per class"
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
