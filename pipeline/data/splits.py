"""Assignment of images to the training, validation and test splits."""

from fractions import Fraction

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from pipeline.config import CurationConfig
from pipeline.system.errors import PipelineError

# Largest number of folds into which groups are divided; a new split consists of one or more folds.
_FOLDS = 20


def assign_given_splits(splits: pd.Series, test: str) -> pd.Series:
    """Return the split that each image is used for, based on the data set's own splits.

    Args:
        splits: Split of each image in the data set, None for an image without a split.
        test: Setting `dataset.test`.

    Returns:
        train, validation or test for each image, None for an image that is not used.

    Raises:
        PipelineError: `dataset.test` is validation, but the data set has no validation split.
    """
    assigned = splits.astype(object).where(splits.notna(), "train")
    if test != "validation":
        return assigned
    if "validation" not in set(assigned):
        raise PipelineError(
            "dataset.test: invalid value 'validation'; expected a validation/ (or val/) folder with readable images, but there is "
            "none. Use dataset.test=auto"
        )
    return assigned.map({"train": "train", "validation": "test"}.get).astype(object)


def cut_splits(images: pd.DataFrame, dataset: CurationConfig, seed: int) -> pd.Series:
    """Create the missing splits from training images, stratified by class.

    Args:
        images: Columns `label` (categorical), `split` (see `assign_given_splits`) and `unit` (int; images of a unit
            stay in one split), in a fixed order.
        dataset: Fractions of the splits, and the setting of groups, which may be large and contain several classes.
        seed: Random seed of the selection.

    Returns:
        train, validation or test for each image.

    Raises:
        PipelineError: A class has too few images, or a split can't be created.
    """
    split = images["split"].copy()
    present = set(split)
    _check_class_sizes(images["label"], split, dataset.min_images_per_class)
    for name, fraction in (("test", dataset.test_fraction), ("validation", dataset.validation_fraction)):
        if name not in present:
            training = images[split == "train"]
            try:
                cut = (_cut_groups if dataset.groups else _cut_units)(training, fraction, seed)
            except ValueError as error:
                raise PipelineError(
                    f"No {name} split of {fraction:.0%} can be created from {len(training)} training images: {error}; change dataset.{name}_fraction"
                ) from error
            split[cut] = name
    return split


def _check_class_sizes(labels: pd.Series, split: pd.Series, least: int) -> None:
    counts = labels[split == "train"].value_counts()
    # Classes without images are counted too, since labels are categorical.
    small = [f"{label!r} has {counts[label]}" for label in sorted(counts.index) if counts[label] < least]
    if small:
        raise PipelineError(
            f"Too few readable images for training: at least {least} per class are needed, but {', '.join(small)}; "
            "add images, remove the class, or lower dataset.min_images_per_class"
        )


def _cut_units(training: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Return the index of a random sample of units, stratified by class, for units that are small and of one class."""
    first = training[~training["unit"].duplicated()]
    _, cut = train_test_split(first.index, test_size=fraction, stratify=first["label"], random_state=seed)
    return training.index[training["unit"].isin(training["unit"][cut])]


def _cut_groups(training: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Return the index of a random sample of units of any size and with any classes.

    The sample is as close to the fraction of each class as whole units allow.
    """
    units = training.groupby("label", observed=True)["unit"].nunique()
    lonely = [repr(label) for label, count in units.items() if count < 2]
    if lonely:
        raise ValueError(
            f"all images of {', '.join(lonely)} are in one group, which can't be in both splits (dataset.groups)"
        )
    most = min(_FOLDS, training["unit"].nunique(), int(training["label"].value_counts().min()))
    classes = set(training["label"])
    nearest = Fraction(fraction).limit_denominator(most)
    for count in range(nearest.denominator if nearest else most, 1, -1):
        size = min(max(1, round(fraction * count)), count - 1)
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        folds = [fold for _, fold in splitter.split(training.index, training["label"].astype(str), training["unit"])]
        for start in range(count):
            cut = np.concatenate([folds[(start + step) % count] for step in range(size)])
            left = np.setdiff1d(np.arange(len(training)), cut)
            # With few groups, a class may be missing in the sample or in the rest.
            if set(training["label"].iloc[cut]) == classes == set(training["label"].iloc[left]):
                return training.index[cut]
    raise ValueError("every division of whole groups leaves a split without images of some class (dataset.groups)")
