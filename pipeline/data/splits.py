"""Assignment of images to the training, validation and test splits."""

import functools
import logging
from fractions import Fraction

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from pipeline.config import CurationConfig
from pipeline.system.errors import PipelineError
from pipeline.system.wording import some

log = logging.getLogger(__name__)

LEAST_IMAGES = 3
"""Lowest value of `dataset.min_images_per_class`."""
# A split whose fraction differs by more than this from the configured one is reported.
_TOLERANCE = 0.05
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
    fractions = {"test": dataset.test_fraction, "validation": dataset.validation_fraction}
    missing = {name: fraction for name, fraction in fractions.items() if name not in set(split)}
    _check_class_sizes(images["label"], split, dataset.min_images_per_class)
    for number, (name, fraction) in enumerate(missing.items(), start=1):
        training = images[split == "train"]
        try:
            if dataset.groups:
                cut = _cut_groups(training, fraction, seed)
            else:
                # Each class also needs an image for each of the splits that are still to be created.
                cut = _cut_units(training, fraction, seed, left=len(missing) - number + 1)
        except _UncuttableError as error:
            raise PipelineError(
                f"No {name} split of {fraction:.0%} can be created from {len(training)} training images: {error}"
            ) from error
        split[cut] = name
        if abs(len(cut) / len(training) - fraction) > _TOLERANCE:
            log.warning(
                "The %s split has %d of %d images (%.0f %% instead of %.0f %%), so that all classes are in all splits",
                name, len(cut), len(training), 100 * len(cut) / len(training), 100 * fraction,
            )  # fmt: skip
    return split


class _UncuttableError(Exception):
    """Reason why a split can't be created, with the next step."""


def _check_class_sizes(labels: pd.Series, split: pd.Series, least: int) -> None:
    counts = labels[split == "train"].value_counts()
    # Classes without images are counted too, since labels are categorical.
    small = [f"{label!r} has {counts[label]}" for label in sorted(counts.index) if counts[label] < least]
    if small:
        lower = f"lower dataset.min_images_per_class to {counts.min()}"
        steps = ["add images", "remove the class", *([lower] if counts.min() >= LEAST_IMAGES else [])]
        raise PipelineError(
            f"Too few readable images for training: at least {least} per class are needed, but {some(small)}; "
            f"{', '.join(steps[:-1])}, or {steps[-1]}"
        )


def _cut_units(training: pd.DataFrame, fraction: float, seed: int, *, left: int) -> pd.Index:
    """Return the index of a random sample of units, stratified by class, for units that are small and of one class.

    Args:
        training: Images with the columns label and unit.
        fraction: Fraction of the units in the sample.
        seed: Random seed.
        left: Smallest number of units of each class that are not in the sample.
    """
    first = training[~training["unit"].duplicated()]
    sizes = first["label"].value_counts()
    sizes = sizes[sizes > 0]
    _check_units(training["label"].value_counts(), sizes, fraction, left)
    try:
        _, cut = train_test_split(first.index, test_size=fraction, stratify=first["label"], random_state=seed)
        taken = first["label"][cut].value_counts().reindex(sizes.index, fill_value=0)
    except ValueError:
        taken = sizes * 0
    if (taken < 1).any() or (sizes - taken < left).any():
        # The fraction of the whole is too small or large for some classes: cut each class on its own.
        wanted = (sizes * fraction).round().astype(int).clip(1, sizes - left)
        order = np.random.default_rng(seed).permutation(len(first))
        shuffled = first.iloc[order]
        rank = shuffled.groupby("label", observed=True).cumcount()
        cut = shuffled.index[rank.to_numpy() < shuffled["label"].map(wanted).astype(int).to_numpy()]
    return training.index[training["unit"].isin(training["unit"][cut])]


def _check_units(images: pd.Series, units: pd.Series, fraction: float, left: int) -> None:
    """Check that each class has enough different images for all splits, and that the fraction leaves some of each."""
    few = [f"{label!r} has {units[label]}" for label in sorted(units.index) if units[label] <= left]
    if few:
        copies = "; duplicates count once" if any(images[label] > units[label] for label in units.index) else ""
        raise _UncuttableError(
            f"each class needs {left + 1} different images, but {some(few)}{copies}. Add images, or remove the class"
        )
    most = int(100 * (1 - left * len(units) / units.sum())) / 100
    if fraction > most:
        raise _UncuttableError(f"too few would be left for the other splits. Use a fraction of {most} or less")


def _cut_groups(training: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """Return the index of a random sample of units of any size and with any classes.

    The sample is as close to the fraction of each class as whole units allow.
    """
    units = training.groupby("label", observed=True)["unit"].nunique()
    lonely = [repr(label) for label, count in units.items() if count < 2]
    if lonely:
        raise _UncuttableError(
            f"all images of {some(lonely)} are in one group, which can't be in both splits (dataset.groups). Add groups, "
            "or remove the class"
        )
    most = min(_FOLDS, training["unit"].nunique(), int(training["label"].value_counts().min()))
    classes, folds_of = set(training["label"]), functools.cache(functools.partial(_folds, training, seed))
    for count, size in _fold_counts(fraction, most):
        for start in range(count):
            cut = np.concatenate([folds_of(count)[(start + step) % count] for step in range(size)])
            left = np.setdiff1d(np.arange(len(training)), cut)
            # With few groups, a class may be missing in the sample or in the rest.
            if set(training["label"].iloc[cut]) == classes == set(training["label"].iloc[left]):
                return training.index[cut]
    raise _UncuttableError(
        "every division of whole groups leaves a split without images of some class (dataset.groups). Add groups, or "
        "give the splits in folders or a column"
    )


def _fold_counts(fraction: float, most: int) -> list[tuple[int, int]]:
    """Return numbers of folds, and how many of them form the sample: near the fraction first, then all others."""
    nearest = Fraction(fraction).limit_denominator(most)
    near = [
        (count, min(max(1, round(fraction * count)), count - 1))
        for count in range(nearest.denominator if nearest else most, 1, -1)
    ]
    others = [(count, size) for count in range(2, most + 1) for size in range(1, count)]
    return near + sorted(others, key=lambda each: (abs(each[1] / each[0] - fraction), each))


def _folds(training: pd.DataFrame, seed: int, count: int) -> list[np.ndarray]:
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [fold for _, fold in splitter.split(training.index, training["label"].astype(str), training["unit"])]
