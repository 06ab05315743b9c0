"""Sections of the configuration about images."""

from dataclasses import dataclass

from pipeline.config.limits import at_least, between, bounded, fraction, one_of, positive_fraction


@dataclass(kw_only=True)
class ColumnsConfig:
    """Names of a CSV file's columns."""

    path: str
    """Column with the path of each image; relative paths start from the folder of the CSV file."""
    label: str
    """Column with the class of each image."""
    split: str | None
    """Column with train, validation or test. The file may lack it. Null: no column is read."""


@dataclass(kw_only=True)
class NearDuplicatesConfig:
    """Detection of near duplicates: files that show the same image, by perceptual hashes of 256 bits."""

    find: bool
    """Search for near duplicates. Files with the same bytes are always treated as duplicates."""
    distance: int = bounded(minimum=0, maximum=64)
    """Largest number of differing bits, of 256, between two near duplicates."""
    mirrored: bool
    """Treat a mirrored image as a duplicate as well."""
    min_side: int = at_least(16)
    """Shortest side in pixels that is hashed; smaller images have too little detail to be distinguished."""
    min_detail: float = at_least(0)
    """Least detail that is hashed: the median amplitude of the hashed frequencies, in grey levels of 255."""


@dataclass(kw_only=True)
class DriftConfig:
    """Limits above which prepare warns that a split differs from training."""

    class_mix: float = between(0, 1)
    """Total variation distance between class proportions, 0 to 1: the change of accuracy that they alone can cause."""
    appearance: float = between(0, 1)
    """Kolmogorov-Smirnov distance, 0 to 1, of brightness, contrast, saturation, size or aspect ratio."""
    p_value: float = between(0, 1)
    """Significance level of a warning, over all tests together (Bonferroni)."""


@dataclass(kw_only=True)
class CurationConfig:
    """The part of `dataset` that prepare reads: where images come from, which are used, and how they are split."""

    source: str = one_of("folder", "csv", "tfds", "digits")
    """Kind of source: a folder of class folders, a CSV file, TensorFlow Datasets, or scikit-learn's digits."""
    tfds: str | None
    """Name and version of a data set of TensorFlow Datasets, such as `tf_flowers:3.0.1`. Null: another source."""
    columns: ColumnsConfig
    """Columns of the CSV file."""
    groups: str | None
    """Groups of images that stay in one split, such as a patient or a product. With a CSV file: a column's name.
    With folders: a regular expression on the path; its first group, or else the whole match, names the group.
    Null: no groups."""
    test: str = one_of("auto", "validation")
    """Source of the test set. auto: the data set's own test split, or else a part of the training images.
    validation: the data set's own validation split."""
    test_fraction: float = between(0, 1)
    """Fraction of all images that becomes the test split, where the data set has none."""
    validation_fraction: float = between(0, 1)
    """Fraction of the training images that becomes the validation split, where the data set has none."""
    min_images_per_class: int = at_least(3)
    """Least number of readable training images per class. A class with fewer stops prepare."""
    max_pixels: int = at_least(1)
    """Largest width times height of an image. Larger ones are quarantined before they are decoded."""
    near_duplicates: NearDuplicatesConfig
    """Detection of near duplicates."""
    on_leak: str = one_of("fail", "drop", "keep")
    """Action when the data set's own splits share an image or a group. fail: stop. keep: only count them.
    drop: remove the image from all but one split; test has priority, then validation."""
    label_conflicts: str = one_of("quarantine", "keep")
    """Action for images that occur under several labels."""
    drift: DriftConfig
    """Limits above which prepare warns that a split differs from training."""


@dataclass(kw_only=True)
class DatasetConfig(CurationConfig):
    """The data set: its name and place, its splits and checks, and what suits its images."""

    name: str
    """Name of the data set's file in `conf/dataset/`."""
    path: str | None
    """Folder of the images, or the CSV file. A relative path starts from the checkout. Null: the source needs none."""
    mirror: bool
    """State that a mirrored image belongs to the same class; false for digits and signs."""
    image_size: int | None = at_least(1)
    """Side in pixels that suits these images. Null: the backbone's. The top-level `image_size` has priority."""


@dataclass(kw_only=True)
class AugmentConfig:
    """Augmentation of training images. A strength of 0 is off; validation and test images are never augmented."""

    name: str
    """Name of the chosen file in `conf/augment/`."""
    views: int = at_least(0)
    """Augmented variants of each image whose frozen features are cached, besides the plain one; one is used per epoch.
    Layers that train on pixels get a new variant every epoch, and nothing is cached for them."""
    horizontal_flip: bool
    """Mirror each variant with probability 0.5."""
    rotation_degrees: float = bounded(minimum=0, maximum=180)
    """Largest rotation to either side, in degrees."""
    zoom_in: float = fraction()
    """Largest fraction of the width and height that zooming in cuts off: 0.25 shows three quarters of them."""
    zoom_out: float = at_least(0)
    """Largest fraction of the width and height that zooming out adds, by reflection: 0.1 shows 1.1 times the width."""
    crop_area: float = positive_fraction()
    """Random resized crop: smallest fraction of the area that is cut out and resized. 1: no crops."""
    crop_aspect: float = at_least(1)
    """Random resized crop: largest factor by which the aspect ratio changes, either way."""
    brightness: float = fraction()
    """Largest change of brightness, as a fraction of the range of pixel values."""
    contrast: float = fraction()
    """Largest change of contrast, as a fraction of each pixel's distance to the image's mean."""
    saturation: float = fraction()
    """Largest change of saturation, as a fraction of each pixel's distance to its grey."""
    hue: float = fraction()
    """Largest rotation of the hue to either side, as a fraction of half the colour circle."""
    random_operations: int = at_least(0)
    """RandAugment: number of operations per image, drawn from thirteen. 0: off."""
    random_strength: float = fraction()
    """RandAugment: largest strength of an operation."""
    erasing: float = fraction()
    """Random erasing: probability that a rectangle of the image is filled with grey."""
    erasing_area: float = between(0, 1)
    """Random erasing: largest fraction of the image's area that the rectangle covers."""
    mixup: float = at_least(0)
    """MixUp: parameter of the beta distribution from which the weight of a second image is drawn. 0: off."""
    cutmix: float = at_least(0)
    """CutMix: the same for the area of a rectangle from a second image. With both, each batch uses one. 0: off."""
