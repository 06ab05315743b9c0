"""Which image serves for training, validation and testing."""

from fractions import Fraction

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from pipeline.config import CurationConfig
from pipeline.system.errors import PipelineError

SPLITS = ("train", "validation", "test")
# Fractions are cut in steps of a twentieth, where groups are large and not to be torn apart.
_FOLDS = 20


def serving(given: pd.Series, test: str) -> pd.Series:
    """What each image's given split (None where there is none) serves as: train, validation, test, or None for what `dataset.test` puts aside.

    Raises:
        PipelineError: a validation split is asked for and not given.
    """
    split = given.astype(object).where(given.notna(), "train")
    if test != "validation":
        return split
    if "validation" not in set(split):
        raise PipelineError(
            "dataset.test: 'validation' takes a validation/ (or val/) folder with readable images, and there is none; say dataset.test=auto"
        )
    return split.map({"train": "train", "validation": "test"}.get).astype(object)


def cut_splits(images: pd.DataFrame, dataset: CurationConfig, seed: int) -> pd.Series:
    """A split for each image: the one it has, or one cut off the training images, stratified by class and seeded.

    Args:
        images: columns `label` (categorical), `split` (as `serving` gives it) and `unit` (int: images of one are not torn apart), in a
            fixed order.
        dataset: fractions, and whether there are groups, which may be large and hold several classes.
        seed: of the cuts.

    Returns:
        train, validation or test.

    Raises:
        PipelineError: a class with too few images, or a cut that can't be made.
    """
    split = images["split"].copy()
    given = set(split)
    _refuse_small_classes(images["label"], split, dataset.min_images_per_class)
    for name, fraction in (("test", dataset.test_fraction), ("validation", dataset.validation_fraction)):
        if name not in given:
            training = images[split == "train"]
            try:
                cut = (_cut_groups if dataset.groups else _cut_units)(training, fraction, seed)
            except ValueError as error:
                raise PipelineError(
                    f"No {name} split of {fraction:.0%} can be cut off {len(training)} training images: {error}; change dataset.{name}_fraction"
                ) from error
            split[cut] = name
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
            f"Too few readable images for training, at least {least} a class are needed: {', '.join(small)}; "
            "add images, remove the class, or lower dataset.min_images_per_class"
        )


def _cut_units(training: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Single images and small units of one class: the first of each is drawn, and the others follow it."""
    first = training[~training["unit"].duplicated()]
    _, cut = train_test_split(first.index, test_size=fraction, stratify=first["label"], random_state=seed)
    return training.index[training["unit"].isin(training["unit"][cut])]


def _cut_groups(training: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Groups of any size, perhaps of several classes: as near to the fraction of each class as whole groups allow."""
    units = training.groupby("label", observed=True)["unit"].nunique()
    lonely = [repr(label) for label, count in units.items() if count < 2]
    if lonely:
        raise ValueError(
            f"all images of {', '.join(lonely)} are in one group, which can't be in both parts (dataset.groups)"
        )
    most = min(_FOLDS, training["unit"].nunique(), int(training["label"].value_counts().min()))
    every = set(training["label"])
    share = Fraction(fraction).limit_denominator(most)
    for count in range(share.denominator if share else most, 1, -1):
        taken = min(max(1, round(fraction * count)), count - 1)
        folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = [part for _, part in folds.split(training.index, training["label"].astype(str), training["unit"])]
        for start in range(count):
            cut = np.concatenate([parts[(start + step) % count] for step in range(taken)])
            left = np.setdiff1d(np.arange(len(training)), cut)
            # Few groups may leave a class to one side.
            if set(training["label"].iloc[cut]) == every == set(training["label"].iloc[left]):
                return training.index[cut]
    raise ValueError("whole groups leave a class without images in one of the parts (dataset.groups)")
