"""Which picture serves for training, validation and testing."""

from collections.abc import Sequence

import pandas as pd
from sklearn.model_selection import train_test_split

from pipeline.config import DatasetConfig
from pipeline.errors import PipelineError

SPLITS = ("train", "validation", "test")


def assign_splits(pictures: pd.DataFrame, dataset: DatasetConfig, seed: int) -> pd.Series:
    """A split for each picture: the given one, or one cut off the training pictures, stratified by class and seeded.

    Args:
        pictures: columns `label` and `split` (a given one, or None), in a fixed order.
        dataset: fractions and where the test split comes from.
        seed: of the cuts.

    Returns:
        train, validation, test, or None for a given test split that `dataset.test=validation` puts aside.

    Raises:
        PipelineError: a class with too few pictures, or a split that is asked for and not given.
    """
    split = pictures["split"].astype(object).where(pictures["split"].notna(), "train")
    given = set(split)
    if dataset.test == "validation":
        if "validation" not in given:
            raise PipelineError(
                "dataset.test: 'validation' takes a validation/ (or val/) folder with readable pictures, and there is none; say dataset.test=auto"
            )
        split = split.map({"train": "train", "validation": "test"}.get)
        given = {"train", "test"}
    _refuse_small_classes(pictures["label"], split, dataset.min_images_per_class)
    for name, fraction in (("test", dataset.test_fraction), ("validation", dataset.validation_fraction)):
        if name not in given:
            training = split.index[split == "train"]
            split[_stratified(training, pictures["label"][training], fraction, seed, name)] = name
    return split


def _refuse_small_classes(labels: pd.Series, split: pd.Series, least: int) -> None:
    counts = labels[split == "train"].value_counts()
    small = [
        f"{label!r} has {counts.get(label, 0)}"
        for label in sorted(labels.cat.categories)
        if counts.get(label, 0) < least
    ]
    if small:
        raise PipelineError(
            f"Too few readable pictures for training, at least {least} a class are needed: {', '.join(small)}; "
            "add pictures, remove the class, or lower dataset.min_images_per_class"
        )


def _stratified(training: Sequence[int], labels: pd.Series, fraction: float, seed: int, name: str) -> Sequence[int]:
    try:
        _, cut = train_test_split(training, test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise PipelineError(
            f"No {name} split of {fraction:.0%} can be cut off {len(training)} training pictures: {error}; change dataset.{name}_fraction"
        ) from error
    return cut
